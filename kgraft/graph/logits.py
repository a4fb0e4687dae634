"""Logits of a teacher that puts out probabilities."""

from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kgraft.errors import KgraftError
from kgraft.graph.build import clone_op
from kgraft.graph.ir import Call, Graph, Shape, concat, prune
from kgraft.graph.trace import trace_model

# Layers that only rearrange, so that a softmax may stand in front of them.
_REARRANGING = (kl.Reshape, kl.Flatten, kl.Identity, kl.Dropout)
# What a probability counts as at least, so that it has a logarithm.
_LEAST = 1e-7


def logits_graph(graph: Graph, outputs: str = "auto") -> tuple[Graph, str]:
    """Returns the graph that ends in logits.

    A softmax at the end, as a layer of its own or as the activation of the last layer, is taken
    off; the teacher's own layers are left as they are. What ends in something else is taken for
    logits under `auto` if a random image gives an output that is no probability distribution.

    Args:
        graph: the whole teacher, `[batch, ...]` to `[batch, classes]`.
        outputs: `auto`, `logits` (take the output as it is) or `probabilities` (take the softmax
            off; without one, put the logarithm behind).

    Returns:
        The graph and one phrase on what was done.

    Raises:
        KgraftError: the output is not `[batch, classes]`, or under `auto` it is a sigmoid's, or
            looks like probabilities whose logits cannot be recovered exactly.
    """
    if len(graph.output_shape) != 2 or not graph.output_shape[1]:
        raise KgraftError(
            f"expected a teacher whose output is [batch, classes]; got {graph.output_shape}"
        )
    if outputs == "logits":
        return graph, "the output is taken as logits, as told"
    last = _last_computing_call(graph)
    if last is not None and _is_softmax(last.op):
        return prune(graph.without(last.name)), f"softmax {last.name!r} taken off"
    if last is not None and _activation_name(last.op) == "softmax" and len(last.inputs) == 1:
        twin = _linear_twin(last.op, graph.shapes[last.input])
        if twin is not None:
            return graph.with_op(last.name, twin), f"softmax of {last.name!r} taken off"
    if outputs == "probabilities":
        return _with_log(graph), "logits are the logarithm of the probabilities"
    if last is not None and _is_sigmoid(last.op) and graph.output_shape[1] > 1:
        raise KgraftError(
            f"the teacher ends in a sigmoid ({last.name!r}), as one that names several classes an "
            "image does: expected one that names one class; give --teacher_outputs=logits to take "
            "what it puts out as it is, by which the largest is the class"
        )
    if _looks_like_probabilities(graph):
        raise KgraftError(
            f"the teacher's output (made by {last.name if last else graph.input!r}) looks like "
            "probabilities, but no softmax was found to take off: give --teacher_outputs="
            "probabilities (their logarithm is used) or --teacher_outputs=logits"
        )
    return graph, "the output is logits"


def closing_calls(graph: Graph) -> tuple[Call, ...]:
    """Returns the calls that the precision of the output hangs on.

    Args:
        graph: any piece of a network.

    Returns:
        From the last one back: what only rearranges and operations on one value, which compute in
        the type that they are given, and the first layer before them that computes.
    """
    found: list[Call] = []
    call = graph.producer(graph.output)
    while call is not None:
        found.append(call)
        passes = _rearranges(call.op) or not isinstance(call.op, kl.Layer)
        if not passes or len(call.inputs) != 1:
            break
        call = graph.producer(call.input)
    return tuple(found)


def _last_computing_call(graph: Graph) -> Call | None:
    call = graph.producer(graph.output)
    while call is not None and _rearranges(call.op):
        call = graph.producer(call.input)
    return call


def _rearranges(op: Any) -> bool:
    linear = isinstance(op, kl.Activation) and _activation_name(op) == "linear"
    return isinstance(op, _REARRANGING) or linear


def _activation_name(op: Any) -> str | None:
    return getattr(getattr(op, "activation", None), "__name__", None)


def _is_softmax(op: Any) -> bool:
    if isinstance(op, kl.Softmax):
        return True
    if isinstance(op, kl.Activation):
        return _activation_name(op) == "softmax"
    return not isinstance(op, keras.layers.Layer) and type(op).__name__ == "Softmax"


def _is_sigmoid(op: Any) -> bool:
    return _activation_name(op) == "sigmoid" or type(op).__name__ == "Sigmoid"


def _linear_twin(layer: Any, shape: Shape) -> Any:
    """A layer of the same weights without the activation; the teacher's own stays as it is.

    None for a user's own layer that cannot be made without.
    """
    try:
        twin = clone_op(layer, activation="linear")
        twin.build(shape)
        twin.set_weights(layer.get_weights())
    except Exception:  # It may raise anything.
        return None
    twin.trainable = False
    return twin


def _with_log(graph: Graph) -> Graph:
    # Operations of Keras, not a layer of ours: a student is to load without kgraft.
    probabilities = keras.Input(graph.output_shape[1:])
    log = keras.ops.log(keras.ops.maximum(probabilities, _LEAST))
    return concat((graph, trace_model(keras.Model(probabilities, log))))


def _looks_like_probabilities(graph: Graph) -> bool:
    shape = [dim or 64 for dim in graph.input_shape[1:]]
    images = np.random.default_rng(0).uniform(0, 255, [2, *shape]).astype("float32")
    outputs = np.asarray(graph(images))
    return bool(np.all(outputs >= 0) and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))
