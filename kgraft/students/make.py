"""From recipes to student blocks with their starting weights."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from kgraft.graph import Block, Chain
from kgraft.students.block import StudentBlock
from kgraft.students.depth_block import groups_of, random_depth_block, solved_depth_block
from kgraft.students.drop_block import check_drop, drop_block
from kgraft.students.own_block import check_own, own_block
from kgraft.students.recipes import Recipe
from kgraft.students.thin_block import (
    Activations,
    Thinned,
    random_thin_block,
    solved_thin_block,
)


@dataclasses.dataclass(frozen=True)
class Start:
    """Where starting weights come from.

    Attributes:
        weights: `teacher` or `random`.
        activations: the teacher's activations at the cuts, read for `teacher` only.
        seed: seed of all that is drawn.
    """

    weights: str
    activations: Activations
    seed: int


def check_recipes(chain: Chain, recipes: Sequence[Recipe]) -> None:
    """Checks that recipes fit their blocks, before any view is there to make them from.

    Args:
        chain: the teacher.
        recipes: one per block.

    Raises:
        KgraftError: a block has no repeated units to leave out, or cannot be dropped.
    """
    for block, recipe in zip(chain.blocks, recipes, strict=True):
        if recipe.kind == "depth":
            groups_of(block, recipe.units)
        elif recipe.kind == "drop":
            check_drop(block)


def make_from_teacher(
    chain: Chain, block: Block, recipe: Recipe, start: Start, entry_kept: np.ndarray | None
) -> Thinned:
    """Makes a student block from the teacher's own.

    Args:
        chain: the teacher.
        block: the teacher's block.
        recipe: `width`, `inner`, `depth` or `drop`.
        start: where starting weights come from.
        entry_kept: channels of the entry cut that the block before makes; None for all.

    Returns:
        The block, and which channels of its exit it makes.

    Raises:
        KgraftError: the recipe cannot be applied to the block.
    """
    if recipe.kind in ("width", "inner"):
        return _thin(chain, block, recipe, start, entry_kept)
    return Thinned(_shorten(block, recipe, start), None)


# `make_from_teacher`, or what stands in for it.
Maker = Callable[[Chain, Block, Recipe, Start, np.ndarray | None], Thinned]


def make_student(
    chain: Chain,
    recipes: Sequence[Recipe],
    start: Start,
    *,
    own: Chain | None = None,
    make: Maker = make_from_teacher,
) -> tuple[StudentBlock, ...]:
    """Makes one student block for each block of the teacher.

    A thin block takes what the block before it makes: its entry width is that block's exit width.

    Args:
        chain: the teacher; it does not change.
        recipes: one per block.
        start: where starting weights come from.
        own: a user's own student cut into as many blocks, for recipes of kind `model`.
        make: makes the blocks of all other recipes; a search takes those it knows from its cache.

    Returns:
        The student blocks in order.

    Raises:
        KgraftError: the user's student does not fit the teacher.
        KgraftError: a recipe cannot be applied to its block.
    """
    if own is not None:
        check_own(chain, own)
    student: list[StudentBlock] = []
    entry_kept: np.ndarray | None = None
    for block, recipe in zip(chain.blocks, recipes, strict=True):
        if recipe.kind in ("width", "inner", "depth", "drop"):
            thinned = make(chain, block, recipe, start, entry_kept)
            made, entry_kept = thinned.block, thinned.kept
        elif recipe.kind == "model" and own is not None:
            activations = start.activations if start.weights == "teacher" else None
            made, entry_kept = own_block(chain, own, block.index, activations=activations), None
        else:
            made, entry_kept = StudentBlock(block.index, block.graph, kept=True), None
        student.append(made)
    return tuple(student)


def _thin(
    chain: Chain, block: Block, recipe: Recipe, start: Start, entry_kept: np.ndarray | None
) -> Thinned:
    inner = recipe.kind == "inner"
    if start.weights == "random":
        return random_thin_block(chain, block, recipe.ratio, entry_kept=entry_kept, inner=inner)
    return solved_thin_block(
        chain,
        block,
        recipe.ratio,
        entry_kept=entry_kept,
        activations=start.activations,
        seed=start.seed,
        inner=inner,
    )


def _shorten(block: Block, recipe: Recipe, start: Start) -> StudentBlock:
    activations = start.activations if start.weights == "teacher" else None
    if recipe.kind == "drop":
        return drop_block(block, activations=activations, seed=start.seed)
    if activations is None:
        return random_depth_block(block, recipe.units)
    return solved_depth_block(block, recipe.units, activations=activations, seed=start.seed)
