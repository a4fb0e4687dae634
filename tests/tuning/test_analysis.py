from dataclasses import replace

import pytest
from tuning_cases import record, settings

from kgraft.tuning.analysis import (
    beside_start,
    block_points,
    importance,
    pareto_front,
    ranked,
)

RECORDS = [
    record("start", 0.8, 0.6),
    record("1", 0.9, 0.7),
    record("2", 0.85, 0.5),
    record("3", 0.84, 0.55),
    record("4", 0.7, 0.3),
    record("5", 0.99, 0.1, status="pruned"),
    record("6", 0.99, 0.1, part=0.5),
]


def names(records):
    return [r.trial for r in records]


def test_the_best_within_the_bounds_come_first():
    assert names(ranked(RECORDS, settings())) == ["1", "2", "3", "start", "4"]
    assert names(ranked(RECORDS, settings(max_latency=0.5))) == ["2", "4"]


def test_what_a_later_round_tried_again_is_ranked_once():
    again = [record(n, 0.8, 0.5, values={"batch": 8, "order": "forward"}) for n in ("1", "9")]
    other = record("2", 0.9, 0.5, values={"batch": 8, "order": "backward"})
    assert names(ranked([*again, other], settings())) == ["2", "1"]


def test_nobody_beats_the_front_at_no_more_cost():
    assert names(pareto_front(RECORDS, settings())) == ["4", "2", "1"]


def test_who_is_beyond_a_bound_is_not_on_the_front():
    assert names(pareto_front(RECORDS, settings(max_macs=0.5))) == ["4", "2"]
    short = [record(r.trial, r.agreement, r.shares["latency"], accuracy=0.6) for r in RECORDS[:3]]
    config = settings(min_accuracy=0.7, val_dataset="npz:held.npz")
    assert pareto_front(short, config) == ()
    good = record("7", 0.82, 0.6, accuracy=0.7)
    assert pareto_front([*short, good], config) == (good,)


def test_the_best_that_is_no_slower_than_the_start():
    found, start = beside_start(RECORDS, settings())
    assert (found.trial, start.trial) == ("2", "start")
    assert beside_start(RECORDS[1:], settings()) is None
    assert beside_start(RECORDS[:2], settings()) is None


def test_the_best_beside_the_start_is_within_the_bounds():
    config = settings(min_accuracy=0.7, val_dataset="npz:held.npz")
    # The start itself may lack what is asked for: it is what others are held against.
    start, short = record("start", 0.8, 0.6, accuracy=0.6), record("1", 0.9, 0.5, accuracy=0.69)
    assert beside_start([start, short], config) is None
    good = record("2", 0.85, 0.5, accuracy=0.7)
    assert beside_start([start, short, good], config) == (good, start)


def test_importance_is_the_share_of_the_spread_a_parameter_explains():
    records = [
        record(
            str(i), 0.5 + 0.3 * (i % 2) + 0.001 * (i // 4), 0.5, values={"a": i % 2, "b": i // 4}
        )
        for i in range(8)
    ]
    found = importance(records)
    assert list(found) == ["a", "b"]
    assert found["a"] > 0.99
    assert found["b"] == 0.0
    assert importance(records[:1]) == {"a": 0.0, "b": 0.0}
    # Another round of the same trials is no further evidence.
    assert importance([*records, *(replace(r, trial=f"1{r.trial}") for r in records)]) == found


def test_numbers_of_many_values_are_put_in_groups():
    records = [record(str(i), 0.1 * i, 0.5, values={"rate": 0.01 * i}) for i in range(9)]
    # Three groups of three leave the spread within them: 1 - (6 / 6) / (60 / 8), in hundredths.
    assert importance(records)["rate"] == pytest.approx(1 - (0.06 / 6) / (0.6 / 8))


def test_what_a_block_kept_and_what_was_lost_by_it_alone():
    phases = ({"name": "one/block1", "blocks": [1], "heldout_agreement_end": 0.9},)
    blocks = ({"block": 1, "recipe": "width:0.5", "macs_share": 0.3},)
    twice = [record(str(i), 0.8, 0.5, phases=phases, blocks=blocks) for i in range(2)]
    (point,) = block_points(twice)
    assert point == {"block": 1, "recipe": "width:0.5", "macs_share": 0.3, "agreement": 0.9}
