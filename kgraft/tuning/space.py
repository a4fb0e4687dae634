"""The search space: parameters by name, when each exists, and what makes a space wrong."""

import dataclasses
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.students.recipes import Recipe, parse_recipe
from kgraft.tuning.candidate import (
    BLOCK,
    CUTS,
    SETTINGS,
    STAGES,
    WITH_RATIO,
    candidate_run,
    count_blocks,
    read_cuts,
    recipe_text,
    start_recipes,
)
from kgraft.tuning.domains import Domain, Value, check_domain, parse_domain

Condition = tuple[str, tuple[Value, ...]]


@dataclasses.dataclass(frozen=True)
class Space:
    """What a search varies.

    Attributes:
        parameters: domains by name: settings of kgraft-distill by the names of their flags,
            `steps_one` and `steps_two`, `teacher_cuts`, and for block N `blockN` (its recipe),
            `blockN_ratio` and `blockN_rate`.
    """

    parameters: Mapping[str, Domain]

    def ordered(self) -> tuple[str, ...]:
        """Returns the names, each after those it depends on."""

        def rank(name: str) -> tuple[int, str]:
            match = BLOCK.fullmatch(name)
            if match:
                return (2 if match["what"] else 1, name)
            return (0 if name in (CUTS, "loss", *STAGES) else 3, name)

        return tuple(sorted(self.parameters, key=rank))

    def conditions(self, name: str) -> tuple[Condition, ...]:
        """Says when a parameter exists.

        Args:
            name: one of the parameters.

        Returns:
            Other parameters, and the values of each for which this one exists; empty for always.
        """
        match = BLOCK.fullmatch(name)
        if match:
            return self._block_conditions(int(match["index"]), match["what"])
        if name == "temperature":
            return self._where("loss", lambda value: value == "kl")
        stage = _STAGE_OF.get(name)
        return self._where(stage, lambda value: value != 0) if stage else ()

    def _block_conditions(self, index: int, what: str | None) -> tuple[Condition, ...]:
        found = self._where(CUTS, lambda value: count_blocks(read_cuts(value)) > index)
        if what == "ratio":
            found += self._where(f"block{index}", lambda value: value in WITH_RATIO)
        if what == "rate":
            found += self._where(f"block{index}", lambda value: value != "keep")
            found += self._where(STAGES[0], lambda value: value != 0)
        return found

    def _where(self, parent: str, holds: Any) -> tuple[Condition, ...]:
        domain = self.parameters.get(parent)
        values = domain.listed() if domain is not None else None
        if values is None:
            return ()
        kept = tuple(value for value in values if holds(value))
        return () if len(kept) == len(values) else ((parent, kept),)

    def cut_options(self, base: RunConfig) -> tuple[tuple[str, ...] | int, ...]:
        """Returns every set of cuts that a trial may have."""
        domain = self.parameters.get(CUTS)
        values = domain.listed() if domain is not None else None
        return tuple(read_cuts(v) for v in values) if values else (base.teacher.cuts,)

    def most_grafted(self, base: RunConfig) -> int:
        """Returns the most blocks that a trial may replace; the start is none."""
        return max(
            sum(
                self._may_be_replaced(index, recipe)
                for index, recipe in enumerate(start_recipes(base, count_blocks(cuts)))
            )
            for cuts in self.cut_options(base)
        )

    def _may_be_replaced(self, index: int, start: Recipe) -> bool:
        domain = self.parameters.get(f"block{index}")
        varied = domain.listed() if domain is not None else None
        return any(recipe != "keep" for recipe in varied or (recipe_text(start),))

    def most_views(self, base: RunConfig) -> int:
        """Returns the most training views of an image that a trial may have, or the start."""
        domain = self.parameters.get("views")
        values = domain.ends() if domain is not None else ()
        return max(int(value) for value in (base.data.views, *values))


# Rates do nothing in a stage that takes no step.
_STAGE_OF = {
    "block_rate": "steps_one",
    "adapter_rate": "steps_one",
    "block_rate_two": "steps_two",
    "adapter_rate_two": "steps_two",
}


def open_space(file: str | None, vary: Sequence[str]) -> Space:
    """Reads a space from a file and from flags; what the flags say of a parameter counts.

    Args:
        file: a Python file that sets `SPACE` to domains by name; None for none.
        vary: `name=domain` texts.

    Raises:
        KgraftError: the file cannot be run, a text cannot be read, or nothing is varied.
    """
    parameters = _from_file(file) if file else {}
    for text in vary:
        name, equals, domain = text.partition("=")
        if not equals:
            raise KgraftError(f"--vary must be NAME=VALUES, such as batch=32|64; got {text!r}")
        parameters[name.strip()] = parse_domain(name.strip(), domain.strip())
    if not parameters:
        raise KgraftError(
            "--space is missing: give a file such as configs/search/fashion_mnist.py, or "
            "--vary=block1_ratio=0.3..0.9:0.1"
        )
    return Space(parameters)


def _from_file(file: str) -> dict[str, Domain]:
    if not pathlib.Path(file).is_file():
        raise KgraftError(f"--space must be a Python file that sets SPACE; there is no {file}")
    try:
        found = runpy.run_path(file).get("SPACE")
    # With sys.exit() all would seem to have gone well.
    except (Exception, SystemExit) as error:
        raise KgraftError(f"--space={file}: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise KgraftError(
            f"--space={file} must set SPACE to a dict of parameters; got {type(found).__name__}"
        )
    return dict(found)


def check_space(space: Space, base: RunConfig) -> None:
    """Checks a space against the settings that the search starts from; needs no teacher.

    Args:
        space: what is varied.
        base: the settings.

    Raises:
        KgraftError: a parameter is unknown, empty, without effect or has a value that no run can
            have; it is named.
    """
    for name, domain in space.parameters.items():
        _check_name(name)
        check_domain(name, domain)
    _check_start(space, base)
    _check_augment(space, base)
    blocks = max(count_blocks(cuts) for cuts in space.cut_options(base))
    for name, domain in space.parameters.items():
        match = BLOCK.fullmatch(name)
        if match and int(match["index"]) >= blocks:
            raise KgraftError(
                f"--space: {name}: the teacher is cut into {blocks} blocks, 0 to {blocks - 1}"
            )
        _check_effect(name, space, base)
        for value in domain.ends():
            _check_value(name, value, space, base)


def _check_name(name: object) -> None:
    known = (CUTS, *STAGES, *SETTINGS)
    if name not in known and not (isinstance(name, str) and BLOCK.fullmatch(name)):
        raise KgraftError(
            f"--space: there is no parameter {name!r}; there are {', '.join(known)}, and for each "
            "block, such as the second one, block1, block1_ratio, block1_rate"
        )


def _check_start(space: Space, base: RunConfig) -> None:
    if parse_recipe(base.student.source).kind == "model":
        raise KgraftError(
            f"--student={base.student.source}: a search is over recipes; give one such as width:0.5"
        )
    if len(base.train.steps) != 2:
        raise KgraftError(
            "--steps must be one number or two, for stage one and stage two: a search varies "
            "which phases there are"
        )
    if isinstance(base.train.block_rate, tuple):
        raise KgraftError(
            "--block_rate must be one number: a search varies which blocks are replaced; a block "
            "of its own rate is block1_rate in --space"
        )


def _check_augment(space: Space, base: RunConfig) -> None:
    """Refuses candidates that would train on what others are judged on.

    Without augmentation students are judged on images that are held out, with it on further views
    of all images; the start is a candidate too.
    """
    domain = space.parameters.get("augment")
    found = {base.data.augment, *(domain.ends() if domain is not None else ())}
    if "none" in found and len(found) > 1:
        raise KgraftError(
            "--space: augment cannot be none in some trials and something else in others (the "
            f"start is --augment={base.data.augment}): they are not judged on the same images; "
            "make a search for each"
        )


def _check_effect(name: str, space: Space, base: RunConfig) -> None:
    """Refuses a parameter that no candidate would read."""
    match = BLOCK.fullmatch(name)
    _check_stage(name, space, base)
    if name == "temperature" and "loss" not in space.parameters and base.train.loss != "kl":
        raise KgraftError(f"--space: temperature does nothing with --loss={base.train.loss}")
    if match and match["what"]:
        index = int(match["index"])
        block = space.parameters.get(f"block{index}")
        start = start_recipes(base, index + 1)[index]
        recipes = block.listed() or () if block else (recipe_text(start),)
        kinds = {str(value).partition(":")[0] for value in recipes}
        if match["what"] == "ratio" and not kinds & set(WITH_RATIO):
            raise KgraftError(
                f"--space: {name} does nothing: block {index} is {', '.join(sorted(kinds))}; give "
                f"block{index} the recipe width or inner"
            )
        if match["what"] == "rate" and kinds == {"keep"}:
            raise KgraftError(f"--space: {name} does nothing: block {index} is kept")
    if any(not values for _, values in space.conditions(name)):
        raise KgraftError(f"--space: {name} never exists: no value of what it depends on allows it")


def _check_stage(name: str, space: Space, base: RunConfig) -> None:
    """Refuses a rate in a stage that takes no step in any candidate."""
    match = BLOCK.fullmatch(name)
    stage = STAGES[0] if match and match["what"] == "rate" else _STAGE_OF.get(name)
    if stage is None or stage in space.parameters or base.train.steps[STAGES.index(stage)]:
        return
    raise KgraftError(
        f"--space: {name} does nothing: with --steps={','.join(map(str, base.train.steps))} "
        f"{stage} is 0 and is not varied"
    )


def _check_value(name: str, value: Value, space: Space, base: RunConfig) -> None:
    match = BLOCK.fullmatch(name)
    if match and match["what"] is None:
        _check_recipe(name, str(value), space)
        return
    try:
        if match and match["what"] == "ratio":
            parse_recipe(f"width:{value}")
        else:
            candidate_run(_with_grafts({name: value}, base), base)
    except KgraftError as error:
        raise KgraftError(f"--space: {name}={value}: {error}") from None


def _with_grafts(values: dict[str, Any], base: RunConfig) -> dict[str, Any]:
    """Adds what lets one value be tried alone: a block that is replaced whatever the cuts."""
    cuts = read_cuts(values[CUTS]) if CUTS in values else base.teacher.cuts
    return {**{f"block{i}": "width:0.5" for i in range(count_blocks(cuts))}, **values}


def _check_recipe(name: str, text: str, space: Space) -> None:
    if text in WITH_RATIO:
        if f"{name}_ratio" not in space.parameters:
            raise KgraftError(
                f"--space: {name}={text} needs a ratio: add {name}_ratio, or give {text}:0.5"
            )
        return
    if parse_recipe(text, flag="space").kind == "model":
        raise KgraftError(
            f"--space: {name} must be of width, inner, width:RATIO, inner:RATIO, depth:N, drop "
            f"and keep; got {text!r}"
        )
