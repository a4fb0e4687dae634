"""Whether any student of a space can keep to the bounds, found out before the first trial."""

import math
from collections.abc import Callable
from typing import Any

import keras

from kgraft.errors import KgraftError
from kgraft.graph import total_macs, trace_model
from kgraft.tuning.bench import Bench
from kgraft.tuning.candidate import (
    CUTS,
    WITH_RATIO,
    Values,
    candidate_run,
    count_blocks,
    recipe_text,
    start_recipes,
)
from kgraft.tuning.costs import CostBook
from kgraft.tuning.objective import Costs

Measure = Callable[[keras.Model], float]
_WHAT = {"latency": "milliseconds", "bytes": "bytes", "macs": "multiply-adds"}
# Times a bound on the latency: a busy machine and other shapes are less than that.
_FAR = 2


def check_budget(bench: Bench, costs: CostBook, say: Callable[[str], None]) -> None:
    """Checks that a student of the space keeps to each bound.

    The students of the fewest multiply-adds and of the fewest weights are weighed. Milliseconds
    depend on more than either, so that a bound on them is refused only where it is far away.

    Args:
        bench: the teacher and the settings.
        costs: measures students.
        say: told one line where a bound on the latency may be out of reach.

    Raises:
        KgraftError: none was found; the bound is named, and the least that one has.
    """
    config = bench.config
    if not config.bounds:
        return
    found = _weighed(bench, costs)
    for cost, bound in config.bounds.items():
        graft, weighed = min(found, key=lambda one: one[1].shares[cost])
        least = weighed.shares[cost]
        if least <= bound:
            continue
        message = (
            f"--max_{cost}={bound:g}: a student of this space that keeps to it was not found; the "
            f"smallest that was weighed (--graft={graft}) has {least:.3g} of the teacher's "
            f"{_WHAT[cost]}: give a larger bound, or a space with smaller ratios or more blocks"
        )
        if cost != "latency" or least > _FAR * bound:
            raise KgraftError(message)
        say(message)


def _weighed(bench: Bench, costs: CostBook) -> list[tuple[str, Costs]]:
    """Weighs the smallest students by each measure; two measures often find the same one."""
    runs = [candidate_run(smallest(bench, measure), _run(bench)) for measure in (macs, weights)]
    different = {(run.teacher.cuts, run.student.graft): run for run in runs}
    return [(run.student.graft, costs.measure(bench.untrained(run))) for run in different.values()]


def macs(model: keras.Model) -> float:
    """Returns the multiply-adds of a student."""
    return total_macs(trace_model(model))


def weights(model: keras.Model) -> float:
    """Returns the number of a student's weights, which most of the bytes of its file are."""
    return model.count_params()


def smallest(bench: Bench, measure: Measure = macs) -> dict[str, Any]:
    """Finds the values of the smallest student, block by block for each set of cuts.

    Args:
        bench: the teacher and the settings.
        measure: what is to be small.

    Returns:
        Values of cuts and blocks.
    """
    found = [
        _smallest_of_cuts(bench, cuts, measure)
        for cuts in bench.config.opened.cut_options(_run(bench))
    ]
    return min(found, key=lambda values: _measured(bench, values, measure))


def _smallest_of_cuts(
    bench: Bench, cuts: tuple[str, ...] | int, measure: Measure
) -> dict[str, Any]:
    text = str(cuts) if isinstance(cuts, int) else "+".join(cuts)
    options = [_options(bench, index) for index in range(count_blocks(cuts))]
    values: dict[str, Any] = {CUTS: text}
    for found in options:
        values.update(found[0])
    for found in options:
        if len(found) > 1:
            values.update(
                min(found, key=lambda option: _measured(bench, {**values, **option}, measure))
            )
    return values


def _options(bench: Bench, index: int) -> list[dict[str, Any]]:
    """What a block may be, each with its smallest ratio; to keep it comes last."""
    space, name = bench.config.opened.parameters, f"block{index}"
    ratio = space.get(f"{name}_ratio")
    start = recipe_text(start_recipes(_run(bench), index + 1)[index])
    recipes = space[name].ends() if name in space else (start,)
    # At first nothing is kept that need not be, as something has to be grafted.
    grafts = sorted(map(str, recipes), key=lambda text: text == "keep")
    if ratio is None:
        return [{name: text} for text in grafts]
    least = min(ratio.ends(), key=float)
    # A recipe of the space with a ratio of its own keeps it, as in a trial.
    takes = {text: (text if name in space else _kind(text)) in WITH_RATIO for text in grafts}
    return [{name: text, f"{name}_ratio": least if takes[text] else None} for text in grafts]


def _kind(text: str) -> str:
    return text.partition(":")[0]


def _measured(bench: Bench, values: Values, measure: Measure) -> float:
    try:
        return measure(bench.untrained(candidate_run(values, _run(bench))))
    except KgraftError:
        # Every block kept, or a recipe that its block does not take: not a student.
        return math.inf


def _run(bench: Bench) -> Any:
    return bench.config.run
