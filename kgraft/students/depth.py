"""The recipe `depth`: one unit for several, solved so that it makes what they made.

A unit that stands for a group takes what the first of them takes. Side by side, at that one input,
the units' inner channels are what it may choose among: each is fitted to the teacher's own, and
those stay that the sum at the group's end needs most. Its last layer is fitted to that sum.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import layers as kl

from kgraft.graph import Graph, prune
from kgraft.students.blueprint import Parts, whole
from kgraft.students.channels import ChannelGroups, channel_groups, is_conv
from kgraft.students.thinning import thin_graph
from kgraft.students.units import Run


@dataclasses.dataclass(frozen=True)
class Merged:
    """A block with fewer units, their inner channels side by side.

    Attributes:
        graph: with layers of its own.
        parts: what values are to be that stand for several of the teacher's.
        choose: for layers that read channels side by side, how many may stay.
    """

    graph: Graph
    parts: Mapping[str, Parts]
    choose: Mapping[str, int]


def without_units(graph: Graph, groups: Sequence[Run]) -> Graph:
    """Leaves out all units of each group but the first.

    Args:
        graph: the block that the units were found in, or the same with its BatchNorms.
        groups: groups of neighbouring units.

    Returns:
        The shorter block; it shares the layers.
    """
    for group in groups:
        names = unit_ends(graph, [group])
        ((_, first),) = names.items()
        made = next(index for index, call in enumerate(graph.calls) if first in call.outputs)
        calls = (
            *graph.calls[: made + 1],
            *(call.renamed(names) for call in graph.calls[made + 1 :]),
        )
        output = names.get(graph.output, graph.output)
        graph = prune(dataclasses.replace(graph, calls=calls, output=output))
    return graph


def unit_ends(graph: Graph, groups: Sequence[Run]) -> dict[str, str]:
    """Names what takes the place of the ends of units that are left out.

    Args:
        graph: as `without_units` takes it.
        groups: groups of neighbouring units.

    Returns:
        By the value that a group's last unit ends in, the one that its first ends in.
    """
    return {_after_norm(graph, group[-1].end): _after_norm(graph, group[0].end) for group in groups}


def _after_norm(graph: Graph, value: str) -> str:
    """The value itself, or what a BatchNorm that belongs to its convolution makes of it."""
    producer, readers = graph.producer(value), graph.consumers(value)
    belongs = producer is not None and is_conv(producer.op) and len(readers) == 1
    if belongs and isinstance(readers[0].op, kl.BatchNormalization):
        return readers[0].output
    return value


def merge_units(full: Graph, groups: Sequence[Run]) -> Merged:
    """Puts the inner channels of each group's units side by side in its first.

    Args:
        full: the block, BatchNorm folded, activations apart; it does not change.
        groups: groups of neighbouring units.

    Returns:
        The shorter block. On the teacher's own values it is not yet near the teacher: each unit
        but the first of a group sees another input than its own.
    """
    merged = [group for group in groups if len(group) > 1]
    short = without_units(full, merged)
    channels = channel_groups(short)
    plan: dict[int, np.ndarray] = {}
    choose: dict[str, int] = {}
    for group in merged:
        for inner, reader in _inner_groups(short, channels, group).items():
            plan[inner] = np.tile(np.arange(channels.sizes[inner]), len(group))
            choose[reader] = channels.sizes[inner]
    wide = thin_graph(short, channels, plan, copy=True)
    parts: dict[str, Parts] = {}
    for group in merged:
        _place_weights((full, wide), channels, group, set(plan))
        parts |= _parts(full, short, channels, group, set(plan))
    return Merged(wide, parts, choose)


def _inner_groups(short: Graph, channels: ChannelGroups, group: Run) -> dict[int, str]:
    """The channel groups inside a unit that may be side by side, and the layer that reads each."""
    names = group[0].layers
    ends = (short.input, short.output, group[0].start, group[0].end)
    outside = {segment for value in ends for segment in channels.of(value)}
    found: dict[int, str] = {}
    for name in names[:-1]:
        segments = channels.of(short.call(name).output)
        readers = [
            call.name
            for call in short.calls
            if is_conv(call.op) and segments[0] in channels.of(call.input)
        ]
        free = len(segments) == 1 and not channels.is_locked(segments[0])
        if not free or segments[0] in outside or len(readers) != 1 or readers[0] not in names:
            continue
        # One that reads other channels too, joined to these, would choose among all of them.
        if channels.of(short.call(readers[0]).input) == segments:
            found[segments[0]] = readers[0]
    return found


def _place_weights(
    graphs: tuple[Graph, Graph], channels: ChannelGroups, group: Run, inside: set[int]
) -> None:
    """Sets a wide unit's weights: each unit's own at its place, zeros between units."""
    full, wide = graphs
    for names in zip(*(unit.layers for unit in group), strict=True):
        layers = [full.call(name).op for name in names]
        target = wide.call(names[0])
        wide_in = channels.of(target.input)[0] in inside
        wide_out = channels.of(target.output)[0] in inside
        if wide_in or wide_out:
            target.op.set_weights(_side_by_side(layers, target.op, (wide_in, wide_out)))


def _side_by_side(layers: list[Any], target: Any, wide: tuple[bool, bool]) -> list[np.ndarray]:
    kernels = [np.asarray(layer.kernel) for layer in layers]
    biases = [np.asarray(layer.bias) for layer in layers if layer.use_bias]
    if not is_conv(target):
        return [np.concatenate(kernels, axis=2), *([np.concatenate(biases)] if biases else [])]
    kernel = np.zeros(target.kernel.shape, "float32")
    rows, columns = kernels[0].shape[-2:]
    for number, part in enumerate(kernels):
        row = number * rows if wide[0] else 0
        column = number * columns if wide[1] else 0
        if part.shape == kernels[0].shape:
            kernel[..., row : row + rows, column : column + columns] = part
    bias = np.concatenate(biases) if wide[1] and biases else sum(biases)
    return [kernel, *([bias] if target.use_bias else [])]


def _parts(
    full: Graph, short: Graph, channels: ChannelGroups, group: Run, inside: set[int]
) -> dict[str, Parts]:
    """What a wide unit's inner values and its end shall be."""
    parts: dict[str, Parts] = {}
    for names in zip(*(unit.layers for unit in group), strict=True):
        value = short.call(names[0]).output
        if channels.of(value)[0] in inside:
            outputs = [full.call(name).output for name in names]
            parts[value] = tuple(part for output in outputs for part in whole(full, output))
    return parts | {group[0].end: whole(full, group[-1].end)}
