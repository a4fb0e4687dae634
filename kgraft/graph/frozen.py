"""Inference copies of frozen graphs, rewritten to need less arithmetic for the same function."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers as kl

from kgraft.graph.build import clone_graph, clone_op, copy_weights, rebuild
from kgraft.graph.chain import Block, Chain
from kgraft.graph.ir import Call, Graph
from kgraft.graph.logits import closing_calls
from kgraft.graph.normalization import fold_batch_norm, without_training_layers

# A convolution's matrix is held twice, once transposed for the gradient.
_LARGEST_MATRIX = 32 * 2**20


class WholeMapConv(kl.Layer):
    """A convolution over a map smaller than its kernel, as one matrix product over the whole map.

    On a map of 2x2 a 3x3 kernel meets zero padding in 20 of 36 places; the matrix has the other 16.
    """

    def __init__(self, conv: kl.Conv2D, input_shape: tuple[int | None, ...]) -> None:
        """Takes the weights of a built convolution.

        Args:
            conv: the convolution; it is not changed.
            input_shape: static shape of what comes in, batch dimension included.
        """
        super().__init__(name=conv.name, dtype=conv.dtype_policy, trainable=False)
        matrix = _matrix(conv, input_shape)
        self.output_map = tuple(conv.compute_output_shape(input_shape))[1:]
        bias = np.asarray(conv.bias) if conv.use_bias else np.zeros(self.output_map[-1])
        self.matrix = self._constant("matrix", matrix)
        self.transposed = self._constant("transposed", matrix.T)
        self.bias = self._constant("bias", bias)
        self.activation = conv.activation
        self.built = True

    def _constant(self, name: str, value: np.ndarray) -> Any:
        variable = self.add_weight(name=name, shape=value.shape, trainable=False)
        variable.assign(value)
        return variable

    def call(self, x: Any) -> Any:
        """Applies the convolution.

        Args:
            x: `[batch, height, width, channels]`.

        Returns:
            `[batch, height, width, filters]`.
        """
        flat = tf.reshape(x, [-1, self.matrix.shape[0]])
        y = _product(flat, tf.convert_to_tensor(self.matrix), tf.convert_to_tensor(self.transposed))
        y = tf.reshape(y, [-1, *self.output_map])
        return self.activation(y + tf.convert_to_tensor(self.bias))


@tf.custom_gradient
def _product(x: Any, matrix: Any, transposed: Any) -> Any:
    # A float32 product with the matrix transposed on the fly takes nearly three times as long.
    return tf.matmul(x, matrix), lambda dy: (tf.matmul(dy, transposed), None, None)


def _matrix(conv: kl.Conv2D, input_shape: tuple[int | None, ...]) -> np.ndarray:
    """The convolution's linear part, `[inputs, outputs]`: what it makes of each unit vector."""
    size = math.prod(input_shape[1:])  # type: ignore[arg-type]
    units = tf.reshape(tf.eye(size), [size, *input_shape[1:]])
    made = tf.nn.conv2d(
        units,
        tf.cast(tf.convert_to_tensor(conv.kernel), tf.float32),
        strides=conv.strides,
        padding=conv.padding.upper(),
        dilations=conv.dilation_rate,
    )
    return tf.reshape(made, [size, -1]).numpy()


def _fits_matrix(call: Call, graph: Graph) -> bool:
    conv = call.op
    if type(conv) is not kl.Conv2D or conv.groups > 1 or conv.data_format != "channels_last":
        return False
    given = [size for size in graph.shapes[call.input][1:] if size is not None]
    made = [size for size in graph.shapes[call.output][1:] if size is not None]
    if len(given) < 3 or len(made) < 3:
        return False
    smaller = given[0] * given[1] < math.prod(conv.kernel_size)
    return smaller and 4 * math.prod(given) * math.prod(made) <= _LARGEST_MATRIX


def _with_whole_maps(graph: Graph) -> Graph:
    for call in graph.calls:
        if _fits_matrix(call, graph):
            graph = graph.with_op(call.name, WholeMapConv(call.op, graph.shapes[call.input]))
    return graph


def _in_dtype(graph: Graph, dtype: str) -> Graph:
    """Copies a graph that owns its layers to compute in another precision.

    BatchNorms keep float32 weights. What makes the logits keeps float32 altogether: rounded
    logits change decisions.

    """
    closing = closing_calls(graph) if len(graph.output_shape) == 2 else ()
    exact = {id(call.op) for call in closing}

    def new_op(call: Call) -> Any:
        if not isinstance(call.op, kl.Layer) or id(call.op) in exact:
            return call.op
        mixed = isinstance(call.op, kl.BatchNormalization)
        op = clone_op(call.op, dtype=f"mixed_{dtype}" if mixed else dtype)
        op.trainable = False
        return op

    copy = rebuild(graph, new_op, blank=True)
    copy_weights(graph, copy)
    return copy


def frozen_graph(graph: Graph, *, dtype: str = "float32") -> Graph:
    """Copies a graph for inference: less arithmetic, the same function up to rounding.

    Layers that do nothing at inference go, BatchNorms are folded, convolutions over maps smaller
    than their kernel become one matrix product.

    Args:
        graph: the graph; it does not change.
        dtype: `float32`, or `bfloat16` for weights and compute.

    Returns:
        The copy, with layers of its own, none of them trainable.
    """
    copy = clone_graph(without_training_layers(graph), trainable=False)
    copy, _ = fold_batch_norm(copy)
    if dtype != "float32":
        copy = _in_dtype(copy, dtype)
    return _with_whole_maps(copy)


def frozen_chain(chain: Chain, *, dtype: str = "float32") -> Chain:
    """Copies every block of a chain for inference.

    Args:
        chain: the chain; it does not change.
        dtype: `float32`, or `bfloat16` for weights and compute.

    Returns:
        A chain of the same cuts whose blocks are inference copies; its `graph` is the original.
    """
    blocks = tuple(
        Block(block.index, frozen_graph(block.graph, dtype=dtype)) for block in chain.blocks
    )
    return dataclasses.replace(chain, blocks=blocks)
