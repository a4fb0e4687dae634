"""Multiply-adds, counted from shapes."""

import dataclasses
import math
from typing import Any

import keras
from keras import layers as kl

from kgraft.graph.ir import Call, Graph, Shape

_WINDOWED = (kl.Conv1D, kl.Conv2D, kl.Conv3D, kl.DepthwiseConv1D, kl.DepthwiseConv2D)


def count_macs(graph: Graph) -> dict[str, int]:
    """Counts the multiply-adds of every call for one example.

    Convolutions, dense layers and attention count; element-wise work, pooling and normalisation do
    not, as in the papers this project compares itself with, nor do recurrent layers and those of a
    user's own. A wrapper counts as the layer inside it. Unknown sizes count as 1.

    Args:
        graph: any graph with built layers.

    Returns:
        Multiply-adds by call name, 0 for calls that have none.
    """
    return {call.name: _call_macs(call, graph) for call in graph.calls}


def total_macs(graph: Graph) -> int:
    """Returns the multiply-adds of the whole graph for one example."""
    return sum(count_macs(graph).values())


def _positions(shape: Shape) -> int:
    """Number of places a kernel is applied at: all dimensions but batch and channels."""
    return math.prod(dim or 1 for dim in shape[1:-1])


def _call_macs(call: Call, graph: Graph) -> int:
    op = call.op
    if not isinstance(op, keras.layers.Layer) or not op.weights:
        return 0
    out = graph.shapes[call.output]
    if isinstance(op, kl.Wrapper):
        return _wrapped_macs(call, graph)
    if isinstance(op, (kl.SeparableConv1D, kl.SeparableConv2D)):
        return _positions(out) * sum(math.prod(w.shape) for w in op.weights[:2])
    if isinstance(op, kl.Conv2DTranspose):
        return _positions(graph.shapes[call.inputs[0]]) * math.prod(op.kernel.shape)
    if isinstance(op, (*_WINDOWED, kl.Dense)):
        return _positions(out) * math.prod(op.kernel.shape)
    if isinstance(op, kl.EinsumDense):
        return _einsum_macs(op.equation, graph.shapes[call.inputs[0]], op.kernel.shape)
    if isinstance(op, kl.MultiHeadAttention) and len(call.inputs) > 1:
        asking, asked = (_positions(graph.shapes[value]) for value in _query_and_value(call))
        return _attention_macs(op, asking, asked)
    return 0


def _wrapped_macs(call: Call, graph: Graph) -> int:
    """Those of the layer inside; under `TimeDistributed` once for each step, the second axis."""
    inside = dataclasses.replace(call, op=call.op.layer)
    if not isinstance(call.op, kl.TimeDistributed):
        return _call_macs(inside, graph)
    values = (*call.inputs, *call.outputs)
    shapes = {value: (graph.shapes[value][0], *graph.shapes[value][2:]) for value in values}
    steps = graph.shapes[call.output][1] or 1
    return steps * _call_macs(inside, dataclasses.replace(graph, shapes=shapes))


def _einsum_macs(equation: str, given: Shape, kernel: Shape) -> int:
    """One for each place of all letters together; the first dimension is the batch."""
    letters, of_kernel = equation.partition("->")[0].split(",")
    before, _, after = letters.partition("...")
    middle = len(given) - len(before) - len(after)
    names = [*before, *range(middle), *after]
    sizes = dict(zip(names, given, strict=True)) | dict(zip(of_kernel, kernel, strict=True))
    return math.prod(size or 1 for name, size in sizes.items() if name != names[0])


def _query_and_value(call: Call) -> tuple[str, str]:
    """What asks and what is asked, given by place or by name; masks are neither."""
    given = dict(zip(("query", "value"), call.args, strict=False)) | dict(call.kwargs)
    return given["query"].value, given["value"].value


def _attention_macs(op: Any, asking: int, asked: int) -> int:
    """Projections of both sides, their products, and the mean of values by them."""
    per_asking = math.prod(op.query_dense.kernel.shape) + math.prod(op.output_dense.kernel.shape)
    per_asked = math.prod(op.key_dense.kernel.shape) + math.prod(op.value_dense.kernel.shape)
    pairs = asking * asked * op.num_heads * (op.key_dim + op.value_dim)
    return asking * per_asking + asked * per_asked + pairs
