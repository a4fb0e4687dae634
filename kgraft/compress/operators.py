"""Operations of `keras.ops`, and operators on symbolic tensors, as layers that both Keras have."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraft.compress.layers import Spec, unsupported
from kgraft.compress.plain import MERGING, Wiring, add_activation, relu, rescaling
from kgraft.graph import Call, Graph, Ref


def add_operator(wiring: Wiring, call: Call, graph: Graph) -> str:
    """Adds an operation of `keras.ops`, or an operator on a symbolic tensor, as layers.

    Args:
        wiring: where to; it has the values that the call reads.
        call: a call of a Keras 3 operation that is no layer.
        graph: where the call is.

    Returns:
        The name of the value that comes out.

    Raises:
        KgraftError: the operation, or the way it is used, has no layers that do the same.
    """
    kind = type(call.op).__name__
    values = [wiring.values[value] for value in call.inputs]
    specs = _binary(call, graph) if kind in _BINARY else _unary(call, graph)
    if specs is not None and len(specs) == 1:
        return wiring.add(call.name, specs[0], values)
    if specs is not None:
        return wiring.chain(call.name, specs, values[0])
    function = _function(call.op)
    if function is not None:
        return add_activation(wiring, call.name, function, values[0])
    raise unsupported(call.name, f"it is the operation {kind} as it is used here")


_BINARY = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum")
_FUNCTIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Gelu": "gelu",
    "Selu": "selu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Exp": "exponential",
    "Mish": "mish",
}


def _function(op: Any) -> str | None:
    kind = type(op).__name__
    if kind == "Gelu" and op.approximate:
        return "tanh_gelu"
    return _FUNCTIONS.get(kind)


def _binary(call: Call, graph: Graph) -> list[Spec] | None:
    kind = type(call.op).__name__
    if len(call.inputs) == 2:
        ranks = {len(graph.shapes[value]) for value in call.inputs}
        return [Spec(kind, {})] if kind in MERGING and len(ranks) == 1 else None
    if len(call.args) != 2 or len(call.inputs) != 1:
        return None
    first = isinstance(call.args[0], Ref)
    constant = _constant(call.args[1 if first else 0])
    if constant is None:
        return None
    return _with_constant(kind, constant, first=first)


def _with_constant(kind: str, constant: np.ndarray, *, first: bool) -> list[Spec] | None:
    """Layers for `x KIND constant`; for `constant KIND x` where the tensor is not `first`."""
    if kind == "Add":
        return [rescaling(1.0, constant.tolist())]
    if kind == "Subtract":
        scale, offset = (1.0, -constant) if first else (-1.0, constant)
        return [rescaling(scale, offset.tolist())]
    if kind == "Multiply":
        return [rescaling(constant.tolist())]
    if kind in ("Divide", "TrueDivide") and first:
        return [rescaling((1.0 / constant).tolist())]
    if kind == "Maximum" and not constant.any():
        return [relu()]
    return None


def _constant(value: Any) -> np.ndarray | None:
    """A number, or one for each channel; None for anything else."""
    try:
        array = np.asarray(value, "float64")
    except (TypeError, ValueError):
        return None
    if array.size == 1:
        return array.reshape(())
    return array.reshape(-1) if array.shape[-1] == array.size else None


def _unary(call: Call, graph: Graph) -> list[Spec] | None:
    """Layers for an operation on one tensor; None where it has none or is an activation."""
    op, kind = call.op, type(call.op).__name__
    rank = len(graph.shapes[call.inputs[0]])
    if kind == "Concatenate":
        return [Spec(kind, {"axis": op.axis})]
    if len(call.inputs) != 1:
        return None
    if kind == "Negative":
        return [rescaling(-1.0)]
    if kind in ("Mean", "Max") and rank == 4 and _axes(op.axis, rank) == (1, 2):
        pool = "GlobalAveragePooling2D" if kind == "Mean" else "GlobalMaxPooling2D"
        return [Spec(pool, {"data_format": "channels_last", "keepdims": bool(op.keepdims)})]
    if kind in ("Reshape", "Squeeze", "ExpandDims"):
        return _reshape(graph.shapes[call.input], graph.shapes[call.output])
    if kind in ("LeakyRelu", "Elu", "Softmax"):
        layer, setting = _ONE_SETTING[kind]
        return [Spec(layer, {setting: getattr(op, setting)})]
    if kind == "Clip" and np.ndim(op.x_max) == 0 and not np.any(op.x_min):
        return [relu(max_value=float(op.x_max))]
    if kind == "Pad":
        return _padding(call)
    return None


_ONE_SETTING = {
    "LeakyRelu": ("LeakyReLU", "negative_slope"),
    "Elu": ("ELU", "alpha"),
    "Softmax": ("Softmax", "axis"),
}


def _axes(axis: Any, rank: int) -> tuple[int, ...]:
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    return tuple(sorted(a % rank for a in axes if a is not None))


def _reshape(given: Sequence[int | None], wanted: Sequence[int | None]) -> list[Spec] | None:
    """A `Reshape`, which leaves the batch alone: the sizes of one example must be known and fit."""
    one, other = list(given[1:]), list(wanted[1:])
    if None in one or None in other or math.prod(one) != math.prod(other):  # type: ignore[arg-type]
        return None
    return [Spec("Reshape", {"target_shape": tuple(other)})]


def _padding(call: Call) -> list[Spec] | None:
    width = np.asarray(call.op.pad_width).tolist()
    value = call.kwargs.get("constant_values")
    spatial = len(width) == 4 and width[0] == [0, 0] and width[3] == [0, 0]
    if call.op.mode != "constant" or value or not spatial:
        return None
    padding = tuple(tuple(sides) for sides in width[1:3])
    return [Spec("ZeroPadding2D", {"padding": padding, "data_format": "channels_last"})]
