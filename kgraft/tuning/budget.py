"""Whether any student of a space can keep to the bounds, found out before the first trial."""

from typing import Any

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
from kgraft.tuning.objective import over_budget

_WHAT = {"latency": "milliseconds", "bytes": "bytes", "macs": "multiply-adds"}


def check_budget(bench: Bench, costs: CostBook) -> None:
    """Checks that the smallest student of the space keeps to the bounds.

    Args:
        bench: the teacher and the settings.
        costs: measures it.

    Raises:
        KgraftError: it does not; the bound is named, and what the student has.
    """
    config = bench.config
    if not config.bounds:
        return
    values = smallest(bench)
    run = candidate_run(values, config.run)
    found = costs.measure(bench.untrained(run))
    excess = over_budget(found, config)
    if excess:
        cost = max(excess, key=lambda name: excess[name])
        raise KgraftError(
            f"--max_{cost}={config.bounds[cost]:g}: no student of this space keeps to it; the one "
            f"of the fewest multiply-adds (--graft={run.student.graft}) has "
            f"{found.shares[cost]:.3g} of the teacher's {_WHAT[cost]}: give a larger bound, or a "
            "space with smaller ratios or more blocks"
        )


def smallest(bench: Bench) -> dict[str, Any]:
    """Finds the values of the fewest multiply-adds, block by block for each set of cuts.

    Args:
        bench: the teacher and the settings.

    Returns:
        Values of cuts and blocks.
    """
    found = [
        _smallest_of_cuts(bench, cuts) for cuts in bench.config.opened.cut_options(_run(bench))
    ]
    return min(found, key=lambda values: _macs(bench, values))


def _smallest_of_cuts(bench: Bench, cuts: tuple[str, ...] | int) -> dict[str, Any]:
    text = str(cuts) if isinstance(cuts, int) else "+".join(cuts)
    options = [_options(bench, index) for index in range(count_blocks(cuts))]
    values: dict[str, Any] = {CUTS: text}
    for found in options:
        values.update(found[0])
    for found in options:
        if len(found) > 1:
            values.update(min(found, key=lambda option: _macs(bench, {**values, **option})))
    return values


def _options(bench: Bench, index: int) -> list[dict[str, Any]]:
    """What a block may be, each with its smallest ratio; kept only where it must be."""
    space, name = bench.config.opened.parameters, f"block{index}"
    ratio = space.get(f"{name}_ratio")
    small = {f"{name}_ratio": min(ratio.ends(), key=float)} if ratio is not None else {}
    start = recipe_text(start_recipes(_run(bench), index + 1)[index])
    recipes = space[name].ends() if name in space else (start,)
    grafts = [text for text in recipes if text != "keep"] or ["keep"]
    return [
        {name: text.partition(":")[0] if small and _takes_ratio(text) else text, **small}
        if _takes_ratio(text)
        else {name: text}
        for text in map(str, grafts)
    ]


def _takes_ratio(text: str) -> bool:
    return text.partition(":")[0] in WITH_RATIO


def _macs(bench: Bench, values: Values) -> float:
    return total_macs(trace_model(bench.untrained(candidate_run(values, _run(bench)))))


def _run(bench: Bench) -> Any:
    return bench.config.run
