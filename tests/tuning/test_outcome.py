import pathlib

import pytest
from tuning_cases import record, settings

from kgraft.errors import KgraftError
from kgraft.tuning.outcome import check_found
from kgraft.tuning.records import FAILED, REFUSED, START, TrialRecord

WRITTEN = pathlib.Path("work/search.json")
LABELLED = {"val_dataset": "npz:held.npz", "trials": 3}
ON = "go on in this --workdir with --resume and more than --trials=3"
OR = "or ask for no more than that, or give another space, in another one"
END = "; all trials are in work/search.json"


def refused(trial, share):
    return record(trial, 0.0, share, status=REFUSED)


def message(records, config):
    with pytest.raises(KgraftError) as error:
        check_found(records, config, WRITTEN)
    return str(error.value)


def test_one_within_the_bounds_is_enough():
    config = settings(min_accuracy=0.8, max_macs=0.5, **LABELLED)
    check_found([record("1", 0.9, 0.5, accuracy=0.8), refused("2", 0.6)], config, WRITTEN)


def test_who_lacks_the_accuracy_is_nearer_than_who_is_too_large():
    config = settings(min_accuracy=0.9, max_macs=0.5, **LABELLED)
    start = record(START, 0.9, 0.50001, accuracy=0.95)
    found = [start, refused("1", 0.51), *(record(str(n), 0.9, 0.4, accuracy=n / 9) for n in (2, 4))]
    assert message(found, config) == (
        "no student was found within --max_macs=0.5 and --min_accuracy=0.9: the nearest, trial 4, "
        f"has an accuracy of 0.4444; {ON}, {OR}{END}"
    )


def test_what_it_has_would_do_as_a_bound():
    config = settings(max_latency=0.4, max_macs=0.5, trials=3)
    near = refused("2", 0.0)
    object.__setattr__(near, "shares", {"latency": 0.40001, "bytes": 1.0, "macs": 0.61})
    assert message(
        [record(START, 0.9, 0.9), refused("1", 0.7), near, refused("3", 0.8)], config
    ) == (
        "no student was found within --max_latency=0.4 and --max_macs=0.5: the nearest, trial 2, "
        f"has 0.4001 of the teacher's milliseconds and 0.61 of the teacher's multiply-adds; {ON}, "
        f"{OR}{END}"
    )
    told = message([record(START, 0.9, 0.45), refused("1", 0.7)], settings(max_latency=0.4))
    assert "the nearest, the one it began with, has 0.45 of the teacher's milliseconds;" in told


def test_nothing_was_trained_whole():
    failed = TrialRecord(START, FAILED, {}, error="it broke")
    parts = [record(str(n), 0.9, 0.3, part=0.5) for n in range(3)]
    assert message([failed, *parts], settings(trials=3)) == (
        f"no student was trained whole (1 failed, first start: it broke): {ON}{END}"
    )
    assert message([failed, *parts], settings(max_macs=0.5, trials=3)) == (
        "no student within --max_macs=0.5 was trained whole (1 failed, first start: it broke): "
        f"{ON}{END}"
    )
    assert message(parts, settings(trials=3)) == f"no student was trained whole: {ON}{END}"


def test_all_failed():
    failed = [TrialRecord(name, FAILED, {}, error=f"no {name}") for name in ("1", "2")]
    told = message([record(START, 0.9, 0.9), *failed], settings())
    assert told == "all 2 trials failed, first 1: no 1"


def test_a_space_with_no_further_trial():
    config = settings(max_macs=0.5, trials=3)
    assert message([record(START, 0.9, 0.9), refused("1", 0.7), refused("2", 0.6)], config) == (
        "no student was found within --max_macs=0.5: the nearest, trial 2, has 0.6 of the "
        "teacher's multiply-adds; the space has no more than these 2 trials: give another, in "
        f"another --workdir, or ask for no more than that{END}"
    )
