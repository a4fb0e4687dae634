"""The recipe `depth`: student blocks with fewer of the repeated units."""

import dataclasses

import numpy as np

from kgraft.graph import (
    Block,
)
from kgraft.students.block import StudentBlock
from kgraft.students.blueprint import (
    Blueprint,
    Parts,
    fits_of,
    split_activations,
    sums_last,
    whole,
)
from kgraft.students.channels import channel_groups
from kgraft.students.depth import merge_units, without_units
from kgraft.students.solved_body import solve_and_thin, solved_pattern
from kgraft.students.thin_block import Activations, affordable_views
from kgraft.students.thinning import fresh_pattern, thin_graph
from kgraft.students.units import Run, group_runs


def random_depth_block(block: Block, units: int) -> StudentBlock:
    """Makes a block with fewer units and fresh weights.

    Args:
        block: the teacher's block.
        units: repeated units that stay.

    Returns:
        The block; its BatchNorms train on batch statistics, synchronised over replicas.

    Raises:
        KgraftError: the block has no more repeated units than that.
    """
    groups = groups_of(block, units)
    full = fresh_pattern(block)
    short = without_units(split_activations(full), groups)
    body = thin_graph(short, channel_groups(short), {}, copy=False)
    return StudentBlock(block.index, body, train_statistics=True, notes=_notes(groups))


def solved_depth_block(
    block: Block, units: int, *, activations: Activations, seed: int
) -> StudentBlock:
    """Makes a block with fewer units from the teacher's weights, in closed form.

    Args:
        block: the teacher's block.
        units: repeated units that stay.
        activations: the teacher's activations at the cuts.
        seed: seed for the choice of places to fit on.

    Returns:
        The block; it needs no adapters.

    Raises:
        KgraftError: the block has no more repeated units than that.
    """
    groups = groups_of(block, units)
    full = split_activations(solved_pattern(block))
    merged = merge_units(full, groups)
    # An activation taken out of a layer is one call more on the way to a sum.
    merged = dataclasses.replace(merged, graph=sums_last(merged.graph))

    def parts_of(value: str) -> Parts:
        return merged.parts.get(value) or whole(full, value)

    entry = activations(block.index, affordable_views(full, merged.graph))
    everything = np.arange(full.input_shape[-1] or 1)
    blueprint = Blueprint(full, fits_of(merged.graph, parts_of), everything)
    solved = solve_and_thin(blueprint, merged.graph, merged.choose, entry=entry, seed=seed)
    notes = (*_notes(groups), *_unfitted(groups, blueprint))
    return StudentBlock(block.index, solved.body, notes=notes, blueprint=solved.blueprint)


def groups_of(block: Block, units: int) -> list[Run]:
    """Says which of a block's repeated units are to be one.

    Args:
        block: the teacher's block.
        units: repeated units that stay.

    Returns:
        The groups, in order.

    Raises:
        KgraftError: the block has no more repeated units than that.
    """
    pattern = split_activations(solved_pattern(block))
    return [group for run in group_runs(block, pattern, units) for group in run]


def _notes(groups: list[Run]) -> tuple[str, ...]:
    return (f"{len(groups)} repeated units for {sum(len(group) for group in groups)}",)


def _unfitted(groups: list[Run], blueprint: Blueprint) -> tuple[str, ...]:
    """Says of units that nothing in them can be fitted to what their group makes."""
    fitted = {fit.value for fit in blueprint.fits}
    left = [group for group in groups if len(group) > 1 and group[0].end not in fitted]
    if not left:
        return ()
    return (
        f"{left[0][0].end} is not made by a convolution or dense layer that goes straight into the "
        f"sum, so that {len(left)} units stand for themselves and not for a group of them",
    )
