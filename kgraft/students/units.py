"""Repeated units inside a block, found by structure."""

import dataclasses
import itertools
from typing import Any

from kgraft.errors import KgraftError
from kgraft.graph import Block, Call, Graph, find_cuts
from kgraft.students.blueprint import is_addition, is_fitted, linear
from kgraft.students.channels import is_conv, is_depthwise

Run = tuple["Unit", ...]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A piece of a block that may stand for its neighbours.

    Attributes:
        start: value it takes.
        end: value it makes: a sum, or a convolution's output.
        layers: calls of the layers with weights on its main branch, in order; the last one makes
            the end or goes into its sum.
    """

    start: str
    end: str
    layers: tuple[str, ...]


def find_runs(graph: Graph) -> tuple[Run, ...]:
    """Finds runs of units of which any may be left out.

    Units end at the block's additions, or where it has none at its convolutions. Neighbours are in
    one run where they end in the same shape, the next takes what this one makes through layers
    without weights, and both have the same kinds of layers.

    Args:
        graph: a block whose BatchNorms are folded, activations apart.

    Returns:
        Runs of two units or more, in order.
    """
    cuts = (graph.input, *find_cuts(graph), graph.output)
    ends = _ends(graph, cuts)
    units = [_unit(graph, cuts, ends, index) for index in range(len(ends))]
    runs: list[list[Unit]] = []
    for unit in units:
        if runs and _follows(graph, runs[-1][-1], unit):
            runs[-1].append(unit)
        else:
            runs.append([unit])
    return tuple(tuple(run) for run in runs if len(run) > 1)


def _ends(graph: Graph, cuts: tuple[str, ...]) -> list[str]:
    producers = {call.output: call for call in graph.calls}
    made = [(cut, producers[cut]) for cut in cuts if cut in producers]
    sums = [cut for cut, call in made if is_addition(call.op) and len(call.inputs) == 2]
    return sums or [cut for cut, call in made if is_conv(call.op) and linear(call.op)]


def _unit(graph: Graph, cuts: tuple[str, ...], ends: list[str], index: int) -> Unit:
    """The piece that makes an end: a sum from the last cut before it, else from the end before."""
    end = ends[index]
    last = graph.producer(end)
    assert last is not None
    if is_addition(last.op):
        start = cuts[cuts.index(end) - 1]
        branches = [_between(graph, start, value) for value in last.inputs]
        main = max(branches, key=lambda calls: sum(is_fitted(call.op) for call in calls))
    else:
        main = _between(graph, ends[index - 1] if index else graph.input, end)
        main = list(itertools.dropwhile(lambda call: not is_fitted(call.op), main))
        start = main[0].input
    return Unit(start, end, tuple(call.name for call in main if is_fitted(call.op)))


def _between(graph: Graph, start: str, end: str) -> list[Call]:
    """The calls that lead from one value to another; none where they are the same."""
    needed = {end} - {start}
    calls: list[Call] = []
    for call in reversed(graph.calls):
        if needed.intersection(call.outputs):
            calls.append(call)
            needed.update(value for value in call.inputs if value != start)
    return calls[::-1]


def _follows(graph: Graph, before: Unit, unit: Unit) -> bool:
    between = _between(graph, before.end, unit.start)
    shapes = {graph.shapes[value] for value in (before.end, unit.start, unit.end)}
    return (
        len(shapes) == 1
        and _kinds(graph, before) == _kinds(graph, unit)
        and not any(getattr(call.op, "weights", None) for call in between)
    )


def _kinds(graph: Graph, unit: Unit) -> list[tuple[Any, ...]]:
    """What units must have in common to be one: of each layer the kind, kernel and output."""
    calls = [graph.call(name) for name in unit.layers]
    return [
        (
            type(call.op),
            call.op.kernel.shape[:-2],
            call.op.kernel.shape[-2 if is_depthwise(call.op) else -1],
            getattr(call.op, "dilation_rate", None),
            graph.shapes[call.output],
        )
        for call in calls
    ]


def group_runs(block: Block, graph: Graph, count: int) -> list[list[Run]]:
    """Says which units are to be one: each run with more than `count` units in that many groups.

    Groups are as even as can be, the larger ones spread evenly from the end: a unit that stands for
    two has a fresh one before it to make good what it left.

    Args:
        block: the block, for messages.
        graph: its graph, see `find_runs`.
        count: units that stay of each run.

    Returns:
        For each run the groups, in order.

    Raises:
        KgraftError: no run has more than `count` units.
    """
    runs = find_runs(graph)
    if not any(len(run) > count for run in runs):
        raise KgraftError(f"--student: depth:{count} {_why_not(block, runs, count)}")
    return [_groups(run, count) for run in runs if len(run) > count]


def _why_not(block: Block, runs: tuple[Run, ...], count: int) -> str:
    if not runs:
        return (
            f"needs a block with repeated units of one shape; {block.name} ({block.entry_cut} to "
            f"{block.exit_cut}) has none: give it another recipe, such as "
            f"{block.index}=width:0.5 or {block.index}=keep in --graft"
        )
    most = max(len(run) for run in runs)
    right = "1" if most == 2 else f"1 to {most - 1}"
    return (
        f"leaves out no unit of {block.name}, which has {most} repeated units: N of {right} would "
        "be right there"
    )


def _groups(run: Run, count: int) -> list[Run]:
    ends = [len(run) * number // count for number in range(count + 1)]
    return [run[start:end] for start, end in itertools.pairwise(ends)]
