from dataclasses import replace

import pytest
from tuning_cases import record, settings

from kgraft.tuning.objective import Costs, Quality
from kgraft.tuning.prune import hopeless

# Training brings 0.1 in each.
RECORDS = [record("1", 0.9, 0.8), record("2", 0.7, 0.4), record("3", 0.6, 0.5)]


def costs(share):
    return Costs(1.0, 1, 1, {"latency": share, "bytes": share, "macs": share})


def quality(agreement):
    return Quality(agreement, 0.0)


@pytest.mark.parametrize(("closed", "hopeful"), [(0.79, False), (0.81, True)])
def test_by_score_it_must_be_able_to_become_the_best(closed, hopeful):
    why = hopeless(quality(closed), costs(0.1), RECORDS, settings())
    assert (why is None) == hopeful
    if not hopeful:
        assert why == (
            "closed form 0.7900, with the most that training has brought 0.8900; the best score so "
            "far is 0.9000"
        )


def test_by_score_only_students_within_the_bounds_count():
    config = settings(max_latency=0.45)
    assert hopeless(quality(0.61), costs(0.1), RECORDS, config) is None
    assert hopeless(quality(0.59), costs(0.1), RECORDS, config) is not None


def test_by_front_a_cheaper_one_need_not_be_the_best():
    config = settings(prune="front")
    assert hopeless(quality(0.5), costs(0.1), RECORDS, config) is None
    why = hopeless(quality(0.5), costs(0.45), RECORDS, config)
    assert why is not None and why.endswith("trial 2 costs no more and is better")


def test_by_front_only_students_within_the_bounds_count():
    config = settings(prune="front", max_macs=0.45)
    wide = [*RECORDS[:2], record("3", 0.9, 0.3, shares={**costs(0.3).shares, "macs": 0.5})]
    assert hopeless(quality(0.5), costs(0.5), RECORDS, config) is not None
    assert hopeless(quality(0.65), costs(0.5), wide, config) is None
    labelled = settings(prune="front", min_accuracy=0.8, val_dataset="npz:held.npz")
    for accuracy, hopeful in [(0.79, True), (0.8, False)]:
        known = [replace(r, accuracy=accuracy, closed_accuracy=0.7) for r in RECORDS]
        assert (hopeless(quality(0.5), costs(0.45), known, labelled) is None) == hopeful


def test_nothing_is_pruned_before_something_is_known_or_when_switched_off():
    assert hopeless(quality(0.0), costs(1.0), RECORDS[:2], settings()) is None
    assert hopeless(quality(0.0), costs(1.0), RECORDS, settings(prune="off")) is None
