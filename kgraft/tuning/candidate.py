"""From the values of a trial to the settings of the run that it stands for."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.students.recipes import Recipe, assign_recipes, parse_recipe

Values = Mapping[str, Any]
BLOCK = re.compile(r"block(?P<index>\d+)(?:_(?P<what>ratio|rate))?")
CUTS = "teacher_cuts"
WITH_RATIO = ("width", "inner")
STAGES = ("steps_one", "steps_two")
# Parameters that are one setting of a run each: its section and its field there.
SETTINGS: dict[str, tuple[str, str]] = {
    "augment": ("data", "augment"),
    "views": ("data", "views"),
    "mixed_views": ("data", "mixed_views"),
    "loss": ("train", "loss"),
    "temperature": ("train", "temperature"),
    "feature_weight": ("train", "feature_weight"),
    "batch": ("train", "batch"),
    "block_rate": ("train", "block_rate"),
    "adapter_rate": ("train", "adapter_rate"),
    "block_rate_two": ("train", "block_rate_two"),
    "adapter_rate_two": ("train", "adapter_rate_two"),
    "optimizer": ("train", "optimizer"),
    "decay": ("train", "decay"),
    "order": ("train", "order"),
    "precision": ("train", "precision"),
}


def read_cuts(value: Any) -> tuple[str, ...] | int:
    """Reads cuts as a space names them: `first+second`, or how many blocks to make."""
    text = str(value)
    return int(text) if text.isdecimal() else tuple(text.split("+"))


def count_blocks(cuts: tuple[str, ...] | int) -> int:
    """Returns how many blocks the cuts make."""
    return cuts if isinstance(cuts, int) else len(cuts) + 1


def recipe_text(recipe: Recipe) -> str:
    """Writes a recipe as `--graft` reads it."""
    if recipe.kind in WITH_RATIO:
        return f"{recipe.kind}:{recipe.ratio:g}"
    return f"depth:{recipe.units}" if recipe.kind == "depth" else recipe.kind


def start_recipes(base: RunConfig, blocks: int) -> tuple[Recipe, ...]:
    """Says what each block has for a recipe where the space leaves it alone.

    Args:
        base: the settings that the search starts from.
        blocks: how many blocks a candidate has; beyond those of `base` it is `--student`.

    Raises:
        KgraftError: `--graft` or `--student` cannot be read.
    """
    student = base.student
    found = assign_recipes(student.graft, student.source, count_blocks(base.teacher.cuts))
    more = (parse_recipe(student.source),) * max(0, blocks - len(found))
    return (*found, *more)[:blocks]


def candidate_run(values: Values, base: RunConfig) -> RunConfig:
    """Makes the settings of the run that a trial stands for.

    Args:
        values: the trial's values, those that are active.
        base: the settings that the search starts from.

    Raises:
        KgraftError: the values do not make a run, as where every block is kept.
    """
    cuts = read_cuts(values[CUTS]) if CUTS in values else base.teacher.cuts
    recipes = _recipes(values, start_recipes(base, count_blocks(cuts)))
    graft = ",".join(f"{i}={text}" for i, text in enumerate(recipes) if text != "keep")
    if not graft:
        raise KgraftError("every block is kept, so there is nothing to graft")
    made: dict[str, dict[str, Any]] = {"teacher": {"cuts": cuts}, "student": {"graft": graft}}
    for name, (section, field) in SETTINGS.items():
        if name in values:
            made.setdefault(section, {})[field] = _setting(name, values[name])
    train = made.setdefault("train", {})
    rates = _block_rates(values, recipes, train.get("block_rate", base.train.block_rate))
    if rates is not None:
        train["block_rate"] = rates
    if any(name in values for name in STAGES):
        train["steps"] = tuple(
            values.get(name, base.train.steps[stage]) for stage, name in enumerate(STAGES)
        )
    parts = {name: dataclasses.replace(getattr(base, name), **new) for name, new in made.items()}
    return dataclasses.replace(base, **parts)


def _setting(name: str, value: Any) -> Any:
    """Reads a number of mixed views that stands beside `auto`, and so is a text."""
    as_text = name == "mixed_views" and isinstance(value, str) and value.isdecimal()
    return int(value) if as_text else value


def _recipes(values: Values, start: Sequence[Recipe]) -> list[str]:
    texts = []
    for index, recipe in enumerate(start):
        text = str(values.get(f"block{index}", recipe_text(recipe)))
        ratio = values.get(f"block{index}_ratio")
        kind = text.partition(":")[0]
        texts.append(f"{kind}:{ratio:g}" if ratio is not None and kind in WITH_RATIO else text)
    return texts


def _block_rates(values: Values, recipes: Sequence[str], usual: Any) -> tuple[float, ...] | None:
    """One rate for each replaced block, where the values name any."""
    names = [f"block{i}_rate" for i, text in enumerate(recipes) if text != "keep"]
    if not any(name in values for name in names):
        return None
    return tuple(values.get(name, usual) for name in names)
