"""Multiply-adds, counted from shapes."""

import math

import keras
from keras import layers as kl

from kgraft.graph.ir import Call, Graph, Shape


def count_macs(graph: Graph) -> dict[str, int]:
    """Counts the multiply-adds of every call for one example.

    Convolutions and dense layers count; element-wise work, pooling and normalisation do not, as
    in the papers this project compares itself with. Unknown spatial sizes count as 1.

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
    if isinstance(op, kl.SeparableConv2D):
        return _positions(out) * sum(math.prod(w.shape) for w in op.weights[:2])
    if isinstance(op, kl.Conv2DTranspose):
        return _positions(graph.shapes[call.inputs[0]]) * math.prod(op.kernel.shape)
    if isinstance(op, (kl.Conv1D, kl.Conv2D, kl.Conv3D, kl.DepthwiseConv2D, kl.Dense)):
        return _positions(out) * math.prod(op.kernel.shape)
    if isinstance(op, kl.EinsumDense):
        return _positions(out) * math.prod(op.kernel.shape)
    return 0
