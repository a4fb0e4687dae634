"""Cuts: the tensors of a model through which everything flows."""

import difflib
import itertools
import math
from collections.abc import Collection

from kgraft.errors import KgraftError
from kgraft.graph.ir import Call, Graph

# Parts of the names of layers that turn features into others.
_READERS = ("Conv", "Dense", "Pooling")


def _live_after(graph: Graph) -> list[tuple[str, ...]]:
    """For each call, the values made at or before it that are still needed after it."""
    last_use = {graph.output: len(graph.calls)}
    for position, call in enumerate(graph.calls):
        for value in call.inputs:
            last_use[value] = max(position, last_use.get(value, -1))
    live: list[tuple[str, ...]] = []
    current = [graph.input]
    for position, call in enumerate(graph.calls):
        current = [v for v in (*current, *call.outputs) if last_use.get(v, -1) > position]
        live.append(tuple(current))
    return live


def find_cuts(graph: Graph) -> tuple[str, ...]:
    """Finds all cuts: values on every path from the input to the output.

    Because calls that the output does not need are pruned, a call is either up- or downstream of
    such a value, so one pass over the live values finds them all.

    Args:
        graph: any pruned graph.

    Returns:
        The names of the cuts in order; the graph's own input and output are not among them.
    """
    return tuple(
        live[0]
        for call, live in zip(graph.calls, _live_after(graph), strict=True)
        if len(live) == 1 and live[0] in call.outputs and live[0] != graph.output
    )


def flattened_map(graph: Graph, value: str) -> str | None:
    """Returns the map whose places are laid flat in a value.

    An adapter there would have a weight for every two places and channels.

    Args:
        graph: the graph.
        value: name of a value.

    Returns:
        Name of the map, `[batch, ..., channels]` of more than one place; None for another value.
    """
    call = graph.producer(value)
    while call is not None and len(call.inputs) == 1 and not _has_kernel(call):
        given, made = graph.shapes[call.input], graph.shapes[call.output]
        if len(made) != 2 or made[-1] is None or made[-1] != math.prod(n or 0 for n in given[1:]):
            return None
        if len(given) > 2:
            return call.input if made[-1] != given[-1] else None
        call = graph.producer(call.input)
    return None


def _has_kernel(call: Call) -> bool:
    return any(len(weight.shape) > 1 for weight in getattr(call.op, "weights", ()))


def read_cuts(graph: Graph) -> tuple[str, ...]:
    """Finds the cuts that a convolution, a dense layer or a pooling reads: the ends of features.

    Args:
        graph: any pruned graph.

    Returns:
        The names of the cuts in order.
    """
    readers = (
        call for call in graph.calls if any(part in type(call.op).__name__ for part in _READERS)
    )
    wanted = {value for call in readers for value in call.inputs}
    return tuple(cut for cut in find_cuts(graph) if cut in wanted)


def check_cuts(graph: Graph, names: tuple[str, ...], *, flag: str = "teacher_cuts") -> None:
    """Checks that `names` are cuts of the graph, in order, each once.

    Args:
        graph: the graph to be cut.
        names: names of values.
        flag: the flag to name in messages.

    Raises:
        KgraftError: a name is unknown (the valid cuts are listed), another tensor is needed past
            it (that tensor is named), or the names are out of order or repeated.
    """
    cuts = find_cuts(graph)
    for name in names:
        if name not in cuts:
            raise KgraftError(f"--{flag}: {_why_not(graph, name)}. {_listed(cuts, name)}")
    positions = [cuts.index(name) for name in names]
    if sorted(set(positions)) != positions:
        right = [cuts[p] for p in sorted(set(positions))]
        raise KgraftError(
            f"--{flag}: cuts must be in the order of the network, each once; got "
            f"{','.join(names)}; right would be {','.join(right)}"
        )


def _why_not(graph: Graph, name: str) -> str:
    if name == graph.output:
        return f"{name!r} is the output of the model, which ends the last block by itself"
    for call, live in zip(graph.calls, _live_after(graph), strict=True):
        if name in call.outputs:
            others = ", ".join(repr(value) for value in live if value != name)
            return f"no cut at {name!r}: {others} is needed past it too (a skip connection)"
    return f"the model has no layer {name!r}"


def _listed(cuts: tuple[str, ...], near: str) -> str:
    close = difflib.get_close_matches(near, cuts, n=3)
    nearest = f"Nearest: {', '.join(close)}. " if close else ""
    return f"{nearest}Cuts: {', '.join(cuts)}"


def costly_cuts(
    graph: Graph, cuts: tuple[str, ...], *, macs: dict[str, int], prefer: Collection[str] = ()
) -> tuple[str, ...]:
    """Keeps cuts that part multiply-adds: with any of them, no block is without.

    Args:
        graph: the graph to be cut.
        cuts: some of its cuts, in order.
        macs: multiply-adds of each call, by name.
        prefer: of cuts with no multiply-adds between them the first of these stays, else the first.

    Returns:
        The cuts that stay, in order; none has all the multiply-adds on one side.
    """
    kept: dict[float, str] = {0.0: "", float(sum(macs.values())): ""}
    costs = dict(zip(cuts, _costs_up_to(graph, cuts, macs), strict=True))
    for cut in sorted(cuts, key=lambda cut: cut not in prefer):
        kept.setdefault(costs[cut], cut)
    stay = set(kept.values())
    return tuple(cut for cut in cuts if cut in stay)


def block_macs(graph: Graph, cuts: tuple[str, ...], *, macs: dict[str, int]) -> tuple[float, ...]:
    """Counts the multiply-adds of the blocks that cuts make.

    Args:
        graph: the graph to be cut.
        cuts: its cuts, in order.
        macs: multiply-adds of each call, by name.
    """
    marks = [0.0, *_costs_up_to(graph, cuts, macs), float(sum(macs.values()))]
    return tuple(end - start for start, end in itertools.pairwise(marks))


def choose_cuts(
    graph: Graph, blocks: int, *, macs: dict[str, int], candidates: tuple[str, ...]
) -> tuple[str, ...]:
    """Chooses the cuts that make blocks of about equal multiply-adds.

    Minimises the sum of squared block costs exactly, by dynamic programming over the candidates.

    Args:
        graph: the graph to be cut.
        blocks: how many blocks to make, at least 1.
        macs: multiply-adds of each call, by name.
        candidates: the cuts to choose among, in order.

    Returns:
        `blocks - 1` cuts, or all candidates where those are fewer.
    """
    blocks = min(blocks, len(candidates) + 1)
    marks = [0.0, *_costs_up_to(graph, candidates, macs), float(sum(macs.values()))]
    # best[k][j]: least cost of the first k blocks ending at mark j, and the mark before it.
    best = [{0: (0.0, -1)}]
    for _ in range(blocks):
        row: dict[int, tuple[float, int]] = {}
        for end in range(1, len(marks)):
            options = [
                (cost + (marks[end] - marks[start]) ** 2, start)
                for start, (cost, _) in best[-1].items()
                if start < end
            ]
            if options:
                row[end] = min(options)
        best.append(row)
    chosen: list[str] = []
    mark = len(marks) - 1
    for row in reversed(best[1:]):
        mark = row[mark][1]
        if mark > 0:
            chosen.append(candidates[mark - 1])
    return tuple(reversed(chosen))


def _costs_up_to(graph: Graph, cuts: tuple[str, ...], macs: dict[str, int]) -> list[float]:
    done = 0.0
    costs: dict[str, float] = {}
    for call in graph.calls:
        done += macs[call.name]
        costs.update((value, done) for value in call.outputs)
    return [costs[cut] for cut in cuts]
