"""What the layers of a student body should make: values of the teacher's block."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kgraft.graph import Call, Graph, Ref, clone_op
from kgraft.students.channels import is_conv, is_depthwise

# Channels of the teacher's values, in a row: what a value of the student stands for.
Parts = tuple[tuple[str, np.ndarray], ...]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a layer is fitted to.

    Attributes:
        call: the layer's call in the student body.
        value: the value that shall come out: the layer's output before its activation, or that of
            the addition it feeds, so that it also makes good what the other branches lack.
        parts: what the value shall be.
    """

    call: str
    value: str
    parts: Parts


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """How a student body is solved.

    Attributes:
        teacher: the teacher's block with layers of its own, BatchNorm folded, activations apart.
        fits: in the order of the body's calls.
        entry: which channels of the teacher's entry the body takes.
    """

    teacher: Graph
    fits: tuple[Fit, ...]
    entry: np.ndarray


def take(parts: Parts, kept: np.ndarray) -> Parts:
    """Returns the parts of those channels that stay.

    Args:
        parts: of a value.
        kept: numbers of its channels, ascending.
    """
    taken, start = [], 0
    for value, channels in parts:
        inside = kept[(kept >= start) & (kept < start + len(channels))] - start
        if len(inside):
            taken.append((value, channels[inside]))
        start += len(channels)
    return tuple(taken)


def whole(teacher: Graph, value: str) -> Parts:
    """Returns the parts of one of the teacher's values, all of it."""
    return ((value, np.arange(teacher.shapes[value][-1] or 1)),)


def is_fitted(op: Any) -> bool:
    """Returns whether the closed form knows the layer."""
    return is_conv(op) or is_depthwise(op)


def linear(op: Any) -> bool:
    """Returns whether a layer has no activation in it."""
    return getattr(op.activation, "__name__", "") == "linear"


def split_activations(graph: Graph) -> Graph:
    """Takes activations out of convolutions and dense layers: what is before them gets a name.

    Args:
        graph: a graph that owns its layers.

    Returns:
        The same function; a layer with an activation is followed by a call that keeps the layer's
        value name, its own output has `:linear` behind its name.
    """
    made: dict[int, tuple[Any, Any]] = {}
    calls: list[Call] = []
    shapes = dict(graph.shapes)
    for call in graph.calls:
        if not is_fitted(call.op) or linear(call.op):
            calls.append(call)
            continue
        if id(call.op) not in made:
            made[id(call.op)] = _apart(call.op)
        layer, activation = made[id(call.op)]
        before = f"{call.output}:linear"
        shapes[before] = shapes[call.output]
        calls.append(dataclasses.replace(call, op=layer, outputs=(before,)))
        calls.append(Call(f"{call.name}:act", activation, (Ref(before),), {}, call.outputs))
    return dataclasses.replace(graph, calls=tuple(calls), shapes=shapes)


def _apart(op: Any) -> tuple[Any, Any]:
    layer = clone_op(op, activation="linear")
    rank = len(op.kernel.shape)
    layer.build((*[None] * (rank - 1), op.kernel.shape[-2]))
    layer.set_weights(op.get_weights())
    return layer, kl.Activation(op.activation)


def before_activation(teacher: Graph, value: str) -> str:
    """Returns the name that a value has before its activation, in a split graph."""
    before = f"{value}:linear"
    return before if before in teacher.shapes else value


def fits_of(body: Graph, parts_of: Callable[[str], Parts]) -> tuple[Fit, ...]:
    """Says what each layer of a body is fitted to.

    Args:
        body: the body, its calls in the order `sums_last` gives.
        parts_of: what a value shall be, before its activation.

    Returns:
        One fit for each layer that the closed form knows; a layer used twice has one, for its
        first use.
    """
    sums = sums_fed(body)
    fits: list[Fit] = []
    seen: set[int] = set()
    for call in body.calls:
        if is_fitted(call.op) and id(call.op) not in seen:
            seen.add(id(call.op))
            value = sums.get(call.name, call).output
            fits.append(Fit(call.name, value, parts_of(value)))
    return tuple(fits)


def is_addition(op: Any) -> bool:
    """Returns whether the op adds tensors."""
    return isinstance(op, kl.Add) or (
        not isinstance(op, keras.layers.Layer) and type(op).__name__ == "Add"
    )


def sums_fed(graph: Graph) -> dict[str, Call]:
    """Finds for each addition the layer that is fitted to its sum.

    That is the deepest of the convolutions or dense layers that go straight into it and nowhere
    else.

    Args:
        graph: a block.

    Returns:
        The addition by the name of the layer's call.
    """
    depths = {graph.input: 0}
    uses: dict[int, int] = {}
    readers: dict[str, int] = {graph.output: 1}
    for call in graph.calls:
        depth = 1 + max((depths[value] for value in call.inputs), default=0)
        depths.update(dict.fromkeys(call.outputs, depth))
        uses[id(call.op)] = uses.get(id(call.op), 0) + 1
        for value in call.inputs:
            readers[value] = readers.get(value, 0) + 1
    producers = {value: call for call in graph.calls for value in call.outputs}

    def feeds(value: str) -> bool:
        call = producers.get(value)
        return (
            call is not None
            and is_fitted(call.op)
            and linear(call.op)
            and uses[id(call.op)] == 1
            and readers[value] == 1
        )

    sums: dict[str, Call] = {}
    for call in graph.calls:
        alike = len({graph.shapes[value] for value in call.inputs}) == 1
        if is_addition(call.op) and len(call.inputs) > 1 and alike:
            fed = [value for value in call.inputs if feeds(value)]
            if fed:
                sums[producers[max(fed, key=depths.__getitem__)].name] = call
    return sums


def sums_last(graph: Graph) -> Graph:
    """Orders the calls so that a layer fitted to a sum runs when all else in the sum is there."""
    sums = sums_fed(graph)
    before = {addition.name: name for name, addition in sums.items()}
    calls: list[Call] = []
    for call in graph.calls:
        if call.name in sums:
            continue
        if call.name in before:
            calls.append(graph.call(before[call.name]))
        calls.append(call)
    return dataclasses.replace(graph, calls=tuple(calls))
