"""Recipes by name, and which block gets which: what `--student` and `--graft` say."""

import dataclasses

from kgraft.errors import KgraftError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one block becomes a student block.

    Attributes:
        kind: `width` (the block's own architecture, thinner), `inner` (thinner inside, residual
            stream and exit as wide as they were), `depth` (fewer of its repeated units), `drop`
            (what its shapes need and nothing more), `keep` (the teacher's own block) or `model`
            (the piece of a user's own student).
        ratio: share of the channels that stay, for `width` and `inner`.
        units: repeated units that stay, for `depth`.
    """

    kind: str
    ratio: float = 1.0
    units: int = 0


KEEP = Recipe("keep")


def parse_recipe(text: str, *, flag: str = "student") -> Recipe:
    """Reads `width:RATIO`, `inner:RATIO`, `depth:N`, `drop` or `keep`; else it is a student model.

    Args:
        text: the recipe.
        flag: the flag to name in messages.

    Raises:
        KgraftError: the ratio is no number above 0 and up to 1.
        KgraftError: the number of units is no whole number above 0.
    """
    kind, _, rest = text.partition(":")
    if text in ("keep", "drop"):
        return Recipe(text)
    if kind in ("width", "inner"):
        return Recipe(kind, ratio=_ratio(text, kind, rest, flag))
    if kind == "depth":
        return Recipe(kind, units=_units(text, rest, flag))
    return Recipe("model")


def _ratio(text: str, kind: str, rest: str, flag: str) -> float:
    try:
        ratio = float(rest)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio <= 1:
        raise KgraftError(
            f"--{flag}: expected {kind}:RATIO with a ratio above 0 and up to 1, such as "
            f"{kind}:0.5; got {text!r}"
        )
    return ratio


def _units(text: str, rest: str, flag: str) -> int:
    if not rest.isdecimal() or int(rest) < 1:
        raise KgraftError(
            f"--{flag}: expected depth:N with the number of repeated units that stay, 1 or more, "
            f"such as depth:3; got {text!r}"
        )
    return int(rest)


def assign_recipes(
    graft: str, student: str, blocks: int, *, keep_all: bool = False
) -> tuple[Recipe, ...]:
    """Says for each block which recipe it gets.

    Args:
        graft: `all`, or comma-separated block numbers and ranges, each with an optional recipe of
            its own: `2-4`, `3=width:0.25,4`.
        student: the recipe of grafted blocks without one of their own, or a student model.
        blocks: how many blocks the teacher has.
        keep_all: whether every block may be kept, because a later stage compresses them.

    Returns:
        One recipe per block; blocks that are not grafted get `keep`.

    Raises:
        KgraftError: a number is out of range or no number, a block is named twice, its own recipe
            is none, or nothing is left to graft.
    """
    default = parse_recipe(student)
    if graft == "all":
        recipes = [default] * blocks
    else:
        recipes = [KEEP] * blocks
        seen: set[int] = set()
        for part in graft.split(","):
            numbers, _, own = part.strip().partition("=")
            for index in _block_numbers(numbers, blocks):
                if index in seen:
                    raise KgraftError(f"--graft: block {index} is named twice in {graft!r}")
                seen.add(index)
                recipes[index] = _own_recipe(own) if own else default
    if not keep_all and all(recipe.kind == "keep" for recipe in recipes):
        raise KgraftError(
            f"--graft={graft} with --student={student} keeps every block, so there is nothing to "
            "graft: name a block with a recipe such as width:0.5"
        )
    return tuple(recipes)


def _own_recipe(text: str) -> Recipe:
    recipe = parse_recipe(text, flag="graft")
    if recipe.kind == "model":
        raise KgraftError(
            f"--graft: a block's own recipe must be width:RATIO, inner:RATIO, depth:N, drop or "
            f"keep; got {text!r} (a student model is given to --student)"
        )
    return recipe


def _block_numbers(text: str, blocks: int) -> range:
    first, dash, last = text.partition("-")
    try:
        start, stop = int(first), int(last if dash else first)
    except ValueError:
        start, stop = -1, -1
    if not 0 <= start <= stop < blocks:
        raise KgraftError(
            f"--graft: expected 'all', or block numbers from 0 to {blocks - 1} such as 2 or "
            f"1-{blocks - 1}, each with or without =RECIPE; got {text!r}"
        )
    return range(start, stop + 1)
