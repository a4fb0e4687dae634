"""What the trials of a search say together: the best, the Pareto front, what mattered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kgraft.tuning.config import TuneConfig
from kgraft.tuning.prune import quality_of, within_bounds
from kgraft.tuning.records import START, TrialRecord


def ranked(records: Sequence[TrialRecord], config: TuneConfig) -> tuple[TrialRecord, ...]:
    """Returns the trained students that keep to the bounds, the best first, none twice.

    Args:
        records: of all trials.
        config: the settings of the search.
    """
    good = [r for r in _different(records) if within_bounds(r, config)]
    return tuple(sorted(good, key=lambda r: -(r.score or 0.0)))


def pareto_front(
    records: Sequence[TrialRecord], config: TuneConfig, cost: str = "latency"
) -> tuple[TrialRecord, ...]:
    """Returns the students within the bounds that no other one beats in quality at no more cost.

    Args:
        records: of all trials.
        config: names the quality, and has the bounds.
        cost: `latency`, `bytes` or `macs`.

    Returns:
        By rising cost, and so by rising quality.
    """
    good = [r for r in records if r.whole and within_bounds(r, config)]
    front: list[TrialRecord] = []
    for record in sorted(good, key=lambda r: (r.shares[cost], -quality_of(r, config))):
        if not front or quality_of(record, config) > quality_of(front[-1], config):
            front.append(record)
    return tuple(front)


def beside_start(
    records: Sequence[TrialRecord], config: TuneConfig
) -> tuple[TrialRecord, TrialRecord] | None:
    """Finds the best student that is no slower than that of the settings the search starts from.

    Args:
        records: of all trials.
        config: names the quality, and has the bounds that the student keeps to; the start, which
            it is only held against, need not.

    Returns:
        It and the start; None where there is no such student, or the start was not trained.
    """
    start = next((r for r in records if r.trial == START and r.whole), None)
    if start is None:
        return None
    as_fast = [
        r
        for r in records
        if r.whole
        and r is not start
        and within_bounds(r, config)
        and r.shares["latency"] <= start.shares["latency"]
    ]
    if not as_fast:
        return None
    return max(as_fast, key=lambda r: quality_of(r, config)), start


def importance(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Says how much of the spread of scores each parameter explains by itself.

    Args:
        records: of all trials; those that were not whole do not count.

    Returns:
        By parameter a share from 0 to 1, corrected for the number of its values (epsilon squared).
        Shares do not add up: parameters work together.
    """
    scored = [r for r in _different(records) if r.score is not None and r.trial != START]
    names = dict.fromkeys(name for r in scored for name in r.values)
    found = {name: _explained(name, scored) for name in names}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _different(records: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Returns the trials whose phases were all trained, the first one of the same values.

    Hyperband tries its best again in a longer round; where a block is grafted alone its one phase
    has been trained in the first round already.
    """
    found: dict[Any, TrialRecord] = {}
    for record in records:
        if record.whole:
            found.setdefault(tuple(record.values.items()) or record.trial, record)
    return tuple(found.values())


def _explained(name: str, records: Sequence[TrialRecord]) -> float:
    scores = np.array([r.score for r in records], float)
    labels = _labels([r.values.get(name) for r in records])
    total = float(((scores - scores.mean()) ** 2).sum())
    groups = [scores[labels == label] for label in np.unique(labels)]
    free = len(scores) - len(groups)
    if total == 0 or len(groups) < 2 or free < 1:
        return 0.0
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return max(0.0, 1 - (within / free) / (total / (len(scores) - 1)))


def _labels(values: Sequence[Any]) -> np.ndarray:
    """Groups values: each by itself, or numbers of many values in three of about equal size."""
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(set(numbers)) <= 4:
        return np.array([repr(v) for v in values])
    bounds = np.quantile(numbers, [1 / 3, 2 / 3])
    return np.array([
        repr(int(np.searchsorted(bounds, v))) if isinstance(v, (int, float)) else repr(v)
        for v in values
    ])


def block_points(records: Sequence[TrialRecord]) -> tuple[Mapping[str, Any], ...]:
    """Lists what each replaced block kept of its work, and what the teacher lost by it alone.

    Args:
        records: of all trials.

    Returns:
        For each block of each trial that was trained by itself its number, recipe, share of
        multiply-adds, and the agreement of the teacher with that block alone replaced.
    """
    points: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for record in records:
        alone = {p["blocks"][0]: p for p in record.phases if p["name"].startswith("one/")}
        for block in record.blocks:
            phase = alone.get(block["block"])
            if phase is not None and math.isfinite(phase["heldout_agreement_end"]):
                point = {**block, "agreement": phase["heldout_agreement_end"]}
                points[tuple(point.values())] = point
    return tuple(points.values())
