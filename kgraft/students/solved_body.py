"""Bodies solved in closed form, their inner channels chosen on the way."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kgraft.graph import Block, Graph, clone_graph, fold_batch_norm, without_training_layers
from kgraft.students.blueprint import Blueprint, Fit, sums_last, take
from kgraft.students.channels import ChannelGroups, channel_groups, is_conv
from kgraft.students.solve import solve_body
from kgraft.students.thinning import thin_graph


@dataclasses.dataclass(frozen=True)
class SolvedBody:
    """A solved body.

    Attributes:
        body: with layers of its own.
        blueprint: what its layers were fitted to.
        output: what it makes on the examples it was solved on, `[examples, ...]`.
    """

    body: Graph
    blueprint: Blueprint
    output: np.ndarray


def solved_pattern(block: Block) -> Graph:
    """Returns a block with layers of its own, BatchNorm folded, in the order it is solved in."""
    full, _ = fold_batch_norm(clone_graph(without_training_layers(block.graph), trainable=True))
    return sums_last(full)


def choices(groups: ChannelGroups, full: Graph, plan: dict[int, np.ndarray]) -> dict[str, int]:
    """Takes out of a plan the groups that can be chosen while the layer that reads them is solved.

    Those are the groups inside the block that one convolution or dense layer reads and nothing
    else that mixes channels.

    Args:
        groups: the channel groups of the block.
        full: the block.
        plan: channels that stay by group; what is returned is taken out.

    Returns:
        For the call of each such layer, how many of its input channels stay.
    """
    ends = {*groups.of(full.input), *groups.of(full.output)}
    uses = [id(call.op) for call in full.calls]
    readers: dict[int, list[str]] = {}
    for call in full.calls:
        if is_conv(call.op):
            segments = groups.of(call.input)
            alone = len(segments) == 1 and uses.count(id(call.op)) == 1
            for group in set(segments):
                readers.setdefault(group, []).extend([call.name] if alone else ["", ""])
    found: dict[str, int] = {}
    for group in sorted(plan.keys() - ends):
        if len(readers.get(group, ())) == 1:
            found[readers[group][0]] = len(plan.pop(group))
    return found


def solve_and_thin(
    blueprint: Blueprint,
    wide: Graph,
    choose: Mapping[str, int],
    *,
    entry: np.ndarray,
    seed: int,
) -> SolvedBody:
    """Solves a body on the teacher's own entry and takes out the channels that nobody reads.

    Args:
        blueprint: what its layers are fitted to.
        wide: the body, some of its layers reading more channels than shall stay.
        choose: how many channels stay for those layers, by call.
        entry: the teacher's activations at the entry, `[examples, ..., channels]`.
        seed: seed for the choice of places to fit on.

    Returns:
        The thin body.
    """
    solved = solve_body(
        blueprint,
        wide,
        entry=entry,
        student_entry=entry[..., blueprint.entry],
        seed=seed,
        choose=choose,
    )
    if not solved.chosen:
        return SolvedBody(wide, blueprint, solved.output)
    groups = channel_groups(wide)
    plan = {groups.of(wide.call(name).input)[0]: kept for name, kept in solved.chosen.items()}
    body = thin_graph(wide, groups, plan, copy=True)
    fits = tuple(_thinned(fit, groups, plan) for fit in blueprint.fits)
    return SolvedBody(body, dataclasses.replace(blueprint, fits=fits), solved.output)


def _thinned(fit: Fit, groups: ChannelGroups, plan: Mapping[int, np.ndarray]) -> Fit:
    return dataclasses.replace(fit, parts=take(fit.parts, groups.kept(fit.value, plan)))
