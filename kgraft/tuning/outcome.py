"""Whether a search has found a student, and what is said where it has not."""

import math
import pathlib
from collections.abc import Sequence

from kgraft.errors import KgraftError
from kgraft.tuning.analysis import ranked
from kgraft.tuning.config import TuneConfig
from kgraft.tuning.records import FAILED, START, TrialRecord

_WHAT = {"latency": "milliseconds", "bytes": "bytes", "macs": "multiply-adds"}


def check_found(records: Sequence[TrialRecord], config: TuneConfig, written: pathlib.Path) -> None:
    """Checks that a search has a best student.

    Args:
        records: of all trials.
        config: the settings of the search.
        written: the file that has all trials, which the message names.

    Raises:
        KgraftError: every trial failed, or no student that keeps to the bounds was trained whole.
    """
    trials = [r for r in records if r.trial != START]
    failed = [r for r in trials if r.status == FAILED]
    if trials and len(failed) == len(trials):
        raise KgraftError(
            f"all {len(failed)} trials failed, first {failed[0].trial}: {failed[0].error}"
        )
    if not ranked(records, config):
        raise KgraftError(f"{_missed(records, config)}; all trials are in {written}")


def _missed(records: Sequence[TrialRecord], config: TuneConfig) -> str:
    asked = " and ".join(_asked(config))
    on, other = _what_next(records, config)
    weighed = [r for r in records if r.shares]
    nearest = min(weighed, key=lambda r: _distance(r, config), default=None)
    has = _beyond(nearest, config) if nearest is not None else []
    if nearest is None or not has:
        within = f" within {asked}" if asked else ""
        return f"no student{within} was trained whole{_failures(records)}: {on}"
    name = "the one it began with" if nearest.trial == START else f"trial {nearest.trial}"
    return (
        f"no student was found within {asked}: the nearest, {name}, has {' and '.join(has)}; "
        f"{on}, {other}"
    )


def _what_next(records: Sequence[TrialRecord], config: TuneConfig) -> tuple[str, str]:
    """What to do always, and what else where it is known how near a student came."""
    tried = sum(record.trial != START for record in records)
    # Hyperband counts a trial's early rounds as trials of their own.
    if tried < config.trials and config.tuner != "hyperband":
        used_up = f"the space has no more than these {tried} trials"
        return f"{used_up}: give another, in another --workdir", "or ask for no more than that"
    return (
        f"go on in this --workdir with --resume and more than --trials={config.trials}",
        "or ask for no more than that, or give another space, in another one",
    )


def _failures(records: Sequence[TrialRecord]) -> str:
    failed = [r for r in records if r.status == FAILED]
    if not failed:
        return ""
    return f" ({len(failed)} failed, first {failed[0].trial}: {failed[0].error})"


def _asked(config: TuneConfig) -> list[str]:
    flags = [f"--max_{cost}={bound:g}" for cost, bound in config.bounds.items()]
    accuracy = config.min_accuracy
    return flags if accuracy is None else [*flags, f"--min_accuracy={accuracy:g}"]


def _distance(record: TrialRecord, config: TuneConfig) -> tuple[float, float, bool]:
    """How far a student is beyond the bounds on costs, then on accuracy; the smaller the nearer."""
    costs = sum(max(0.0, record.shares[c] / bound - 1) for c, bound in config.bounds.items())
    # What was too large or too slow was not trained, and its accuracy is not known.
    accuracy, least = record.accuracy or 0.0, config.min_accuracy
    missing = 0.0 if least is None else max(0.0, 1 - accuracy / least)
    return costs, missing, not record.whole


def _beyond(record: TrialRecord, config: TuneConfig) -> list[str]:
    """Names each bound that is not kept; the figures, as bounds, would let the student in."""
    found = [
        f"{math.ceil(1e4 * record.shares[cost]) / 1e4:g} of the teacher's {_WHAT[cost]}"
        for cost, bound in config.bounds.items()
        if record.shares[cost] > bound
    ]
    accuracy, least = record.accuracy, config.min_accuracy
    if least is not None and accuracy is not None and accuracy < least:
        found.append(f"an accuracy of {math.floor(1e4 * accuracy) / 1e4:g}")
    return found
