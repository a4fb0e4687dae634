"""The recipe `width`: the teacher's own block, thinner."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from kgraft.graph import (
    Block,
    Chain,
    Graph,
)
from kgraft.students.block import StudentBlock, make_adapter, set_adapter_matrix
from kgraft.students.blueprint import (
    Blueprint,
    Parts,
    before_activation,
    fits_of,
    is_addition,
    split_activations,
)
from kgraft.students.channels import ChannelGroups, channel_groups
from kgraft.students.importance import channel_energy, channel_scores
from kgraft.students.ridge import fit_adapter
from kgraft.students.solved_body import choices, solve_and_thin, solved_pattern
from kgraft.students.thinning import Plan, fresh_pattern, plan_widths, thin_graph

# The teacher's activations at a cut position on a number of views, evenly spread over all of them:
# `[views, ..., channels]`. The same number always gives the same views.
Activations = Callable[[int, int], np.ndarray]

ADAPTER_RIDGE = 1e-4
# Largest array one value of a block may take while the block is solved.
_VALUE_BYTES = 192 * 2**20


@dataclasses.dataclass(frozen=True)
class Thinned:
    """A thin student block and what the next one has to know of it.

    Attributes:
        block: the student block.
        kept: channels of the teacher's exit cut that the body makes; None for all.
    """

    block: StudentBlock
    kept: np.ndarray | None


def affordable_views(*graphs: Graph) -> int:
    """Returns how many views keep every value of the graphs within bounds of memory."""
    largest = max(
        math.prod(dim or 1 for dim in shape[1:])
        for graph in graphs
        for shape in graph.shapes.values()
    )
    return max(16, _VALUE_BYTES // (4 * largest))


def random_thin_block(
    chain: Chain,
    block: Block,
    ratio: float,
    *,
    entry_kept: np.ndarray | None,
    inner: bool = False,
) -> Thinned:
    """Makes a thin block with fresh weights, as in the paper.

    Args:
        chain: the teacher.
        block: the teacher's block.
        ratio: share of the channels that stay.
        entry_kept: channels of the entry cut that the block before makes; None for all.
        inner: whether entry, exit and sums keep their full width.

    Returns:
        The block; its BatchNorms train on batch statistics, synchronised over replicas.
    """
    full = fresh_pattern(block)
    groups = channel_groups(full)
    if inner:
        lock_stream(groups, full)
    plan = plan_widths(
        groups,
        full,
        ratio=ratio,
        scores={},
        entry_kept=entry_kept,
        lock_exit=_is_last(chain, block),
    )
    body = thin_graph(full, groups, plan, copy=False)
    return _assemble(block, (full, body), groups, plan, solved=False)


def solved_thin_block(
    chain: Chain,
    block: Block,
    ratio: float,
    *,
    entry_kept: np.ndarray | None,
    activations: Activations,
    seed: int,
    inner: bool = False,
) -> Thinned:
    """Makes a thin block from the teacher's weights, in closed form.

    BatchNorm is folded away. Inner channels stay that the layer reading them needs most once it is
    fitted anew, channels of the exit and of sums that the next layers would miss most. Weights are
    copied, each layer is corrected by ridge least squares, the exit adapter solved by it.

    Args:
        chain: the teacher.
        block: the teacher's block.
        ratio: share of the channels that stay.
        entry_kept: channels of the entry cut that the block before makes; None for all.
        activations: the teacher's activations at the cuts.
        seed: seed for the choice of places to fit on.
        inner: whether entry, exit and sums keep their full width.

    Returns:
        The block.
    """
    full = solved_pattern(block)
    groups = channel_groups(full)
    views = affordable_views(full)
    entry = activations(block.index, views)
    if inner:
        lock_stream(groups, full)
    scores = channel_scores(full, groups, entry)
    if not _is_last(chain, block):
        _add_exit_scores(scores, groups, full, chain.blocks[block.index + 1], activations)
    plan = plan_widths(
        groups,
        full,
        ratio=ratio,
        scores=scores,
        entry_kept=entry_kept,
        lock_exit=_is_last(chain, block),
    )
    choose = choices(groups, full, plan)
    wide = thin_graph(full, groups, plan, copy=True)
    teacher = split_activations(full)

    def parts_of(value: str) -> Parts:
        return ((before_activation(teacher, value), groups.kept(value, plan)),)

    blueprint = Blueprint(teacher, fits_of(wide, parts_of), groups.kept(full.input, plan))
    solved = solve_and_thin(blueprint, wide, choose, entry=entry, seed=seed)
    made = _assemble(block, (full, wide), groups, plan, solved=True)
    student = dataclasses.replace(made.block, body=solved.body, blueprint=solved.blueprint)
    if student.exit is not None:
        targets = activations(block.index + 1, views)
        set_adapter_matrix(
            student.exit, fit_adapter(solved.output, targets, strength=ADAPTER_RIDGE)
        )
    return Thinned(student, made.kept)


def lock_stream(groups: ChannelGroups, full: Graph) -> None:
    """Keeps the full width of the entry, the exit and all sums.

    Args:
        groups: the channel groups of the block; what is locked is noted in them.
        full: the block.
    """
    for value in (full.input, full.output):
        groups.lock(groups.of(value))
    for call in full.calls:
        # A number added, as in a hard swish, makes no sum.
        if is_addition(call.op) and len(call.inputs) > 1:
            groups.lock(groups.of(call.output))


def _is_last(chain: Chain, block: Block) -> bool:
    return block.index == len(chain.blocks) - 1


def _add_exit_scores(
    scores: dict[int, np.ndarray],
    groups: ChannelGroups,
    full: Graph,
    reader: Block,
    activations: Activations,
) -> None:
    """Adds to the exit's groups what the block that reads them would miss."""
    # As the block's own scores: by kernels that have their BatchNorm's factors in them.
    pattern = solved_pattern(reader)
    reader_groups = channel_groups(pattern)
    entry = activations(reader.index, affordable_views(pattern))
    read = channel_scores(pattern, reader_groups, entry)
    at_entry = read.get(reader_groups.of(pattern.input)[0])
    if at_entry is None:
        # Nothing there says what it reads: the channels of most energy bring most.
        at_entry = channel_energy(entry)
    exits = groups.of(full.output)
    bounds = np.cumsum([groups.sizes[group] for group in exits])[:-1]
    for group, part in zip(exits, np.split(at_entry, bounds), strict=True):
        scores[group] = scores.get(group, 0.0) + part


def _assemble(
    block: Block,
    graphs: tuple[Graph, Graph],
    groups: ChannelGroups,
    plan: Plan,
    *,
    solved: bool,
) -> Thinned:
    """Puts adapters around a body: solved, the entry's picks channels; else both are random."""
    full, body = graphs
    kept_in, kept_out = groups.kept(full.input, plan), groups.kept(full.output, plan)
    entry = exit_ = None
    width_in, width_out = full.input_shape[-1], full.output_shape[-1]
    if len(kept_in) != width_in:
        entry = make_adapter(f"{block.name}_entry", full.input_shape, len(kept_in))
        if solved:
            set_adapter_matrix(entry, np.eye(width_in, dtype="float32")[:, kept_in])
    if len(kept_out) != width_out:
        exit_ = make_adapter(f"{block.name}_exit", body.output_shape, width_out)
    student = StudentBlock(
        block.index,
        body,
        entry,
        exit_,
        train_statistics=not solved,
        notes=_notes(groups, full),
    )
    return Thinned(student, kept_out if exit_ is not None else None)


def _notes(groups: ChannelGroups, graph: Graph) -> tuple[str, ...]:
    unknown = sorted({
        type(call.op).__name__
        for call in graph.calls
        if any(groups.is_locked(g) for value in call.outputs for g in groups.of(value))
        and call.output != graph.output
    })
    return (f"kept at full width around {', '.join(unknown)}",) if unknown else ()
