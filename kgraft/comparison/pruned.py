"""The student as filter pruning leaves it: channels chosen by the size of their filters, copied.

Pruning Filters for Efficient ConvNets (Li et al., ICLR 2017): the filters of the smallest absolute
sum go. It looks at no image, and it is what FSKD and MiR start from in their papers.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kgraft.errors import KgraftError
from kgraft.graph import (
    Block,
    Chain,
    Graph,
    synchronize_statistics,
    without_training_layers,
)
from kgraft.students import Recipe, StudentBlock, make_adapter, set_adapter_matrix
from kgraft.students.channels import ChannelGroups, channel_groups, is_conv
from kgraft.students.depth import unit_ends, without_units
from kgraft.students.depth_block import groups_of
from kgraft.students.thin_block import lock_stream
from kgraft.students.thinning import fresh_pattern, plan_widths, thin_graph
from kgraft.students.units import Run

PRUNABLE = ("width", "inner", "depth", "keep")


@dataclasses.dataclass(frozen=True)
class PrunedStudent:
    """A pruned student and which channels of the teacher its values have.

    Attributes:
        blocks: one per block of the teacher; pruned ones have layers of their own, with their
            BatchNorms, and adapters that take out and put back channels.
        kept: by name of a value in a pruned block, the teacher's channels that stay.
        names: by name of a value of the teacher, its name in the student, where units that are
            left out make it another.
    """

    blocks: tuple[StudentBlock, ...]
    kept: Mapping[str, np.ndarray]
    names: Mapping[str, str]


def check_prunable(chain: Chain, recipes: tuple[Recipe, ...]) -> None:
    """Checks that the student is the teacher made smaller.

    Args:
        chain: the teacher.
        recipes: one per block.

    Raises:
        KgraftError: a block has another recipe, or `depth` of units that cannot be left out
            without solving anew.
    """
    for block, recipe in zip(chain.blocks, recipes, strict=True):
        if recipe.kind not in PRUNABLE:
            raise KgraftError(
                f"every block needs a recipe out of {', '.join(PRUNABLE)}; block {block.index} has "
                f"{recipe.kind}"
            )
        if recipe.kind == "depth" and not _ends_in_sums(block, recipe):
            raise KgraftError(
                f"depth:{recipe.units} can only leave out units that end in an addition, and "
                f"those of {block.name} ({block.entry_cut} to {block.exit_cut}) do not"
            )


def prunable(chain: Chain, recipes: tuple[Recipe, ...]) -> bool:
    """Returns whether `check_prunable` accepts."""
    try:
        check_prunable(chain, recipes)
    except KgraftError:
        return False
    return True


def pruned_student(chain: Chain, recipes: tuple[Recipe, ...]) -> PrunedStudent:
    """Prunes the teacher to the widths and depths that the recipes ask for.

    Args:
        chain: the teacher; it does not change.
        recipes: one per block, such as `check_prunable` accepts.

    Returns:
        The student before any training: the teacher with the other channels and units taken out.
    """
    blocks: list[StudentBlock] = []
    kept: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    entry: np.ndarray | None = None
    for block, recipe in zip(chain.blocks, recipes, strict=True):
        if recipe.kind == "keep":
            blocks.append(StudentBlock(block.index, block.graph, kept=True))
            entry = None
            continue
        full, ends = _full(block, recipe)
        made, stay = _prune(chain, block, full, recipe, entry)
        blocks.append(made)
        kept |= stay
        names |= ends
        entry = stay[block.graph.output] if made.exit is not None else None
    return PrunedStudent(tuple(blocks), kept, names)


def fresh(student: PrunedStudent) -> tuple[StudentBlock, ...]:
    """Makes a student of the same shape with new weights in its replaced blocks and adapters.

    Args:
        student: it does not change.

    Returns:
        One block per block of the teacher; weights that no training would change are kept.
    """
    return tuple(block if block.kept else _anew(block) for block in student.blocks)


def _anew(block: StudentBlock) -> StudentBlock:
    def adapter(old: Graph | None) -> Graph | None:
        if old is None:
            return None
        return make_adapter(old.calls[0].name, old.input_shape, old.output_shape[-1])

    body = thin_graph(block.body, channel_groups(block.body), {}, copy=False)
    synchronize_statistics(body)
    return dataclasses.replace(
        block, body=body, entry=adapter(block.entry), exit=adapter(block.exit)
    )


def _full(block: Block, recipe: Recipe) -> tuple[Graph, dict[str, str]]:
    """The block before any channel goes, without the units that go, and their ends' new names."""
    full = fresh_pattern(block)
    if recipe.kind != "depth":
        return full, {}
    groups = _groups(block, recipe)
    return without_units(full, groups), unit_ends(full, groups)


def _groups(block: Block, recipe: Recipe) -> list[Run]:
    """The units that are to be one."""
    return [group for group in groups_of(block, recipe.units) if len(group) > 1]


def _ends_in_sums(block: Block, recipe: Recipe) -> bool:
    """Whether all units of the groups end in a value that the block itself has."""
    graph = without_training_layers(block.graph)
    units = (unit for group in _groups(block, recipe) for unit in group)
    return all(graph.producer(unit.end) is not None for unit in units)


def _prune(
    chain: Chain, block: Block, full: Graph, recipe: Recipe, entry: np.ndarray | None
) -> tuple[StudentBlock, dict[str, np.ndarray]]:
    groups = channel_groups(full)
    if recipe.kind != "width":
        lock_stream(groups, full)
    plan = plan_widths(
        groups,
        full,
        ratio=recipe.ratio,
        scores=_filter_sizes(full, groups),
        entry_kept=entry,
        lock_exit=block.index == len(chain.blocks) - 1,
    )
    body = thin_graph(full, groups, plan, copy=True)
    stay = {value: groups.kept(value, plan) for value in full.shapes}
    made = StudentBlock(
        block.index,
        body,
        _adapter(f"{block.name}_entry", full.input_shape, stay[full.input], out=False),
        _adapter(f"{block.name}_exit", full.output_shape, stay[full.output], out=True),
        train_statistics=True,
    )
    # Without some layers the output may have another name; the block's own is what others know.
    return made, stay | {block.graph.output: stay[full.output]}


def _adapter(
    name: str, shape: tuple[int | None, ...], stay: np.ndarray, *, out: bool
) -> Graph | None:
    """A map that picks channels, or with `out` puts them back among zeros."""
    width = shape[-1] or 0
    if len(stay) == width:
        return None
    identity = np.eye(width, dtype="float32")
    if out:
        adapter = make_adapter(name, (*shape[:-1], len(stay)), width)
        set_adapter_matrix(adapter, identity[stay])
    else:
        adapter = make_adapter(name, shape, len(stay))
        set_adapter_matrix(adapter, identity[:, stay])
    return adapter


def _filter_sizes(graph: Graph, groups: ChannelGroups) -> dict[int, np.ndarray]:
    """The absolute sum of the filters that make each channel, by group."""
    sizes: dict[int, np.ndarray] = {}
    for call in graph.calls:
        if not is_conv(call.op):
            continue
        kernel = np.asarray(call.op.kernel, "float64")
        found = np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1)))
        start = 0
        for group in groups.of(call.output):
            stop = start + groups.sizes[group]
            sizes[group] = sizes.get(group, np.zeros(stop - start)) + found[start:stop]
            start = stop
    return sizes
