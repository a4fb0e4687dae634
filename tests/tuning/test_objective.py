import math

import pytest
from tuning_cases import settings

from kgraft.tuning.objective import Costs, Quality, over_budget, refused_score, score

COSTS = Costs(1.0, 100, 1000, {"latency": 0.6, "bytes": 0.5, "macs": 0.4})


def test_quality_is_a_number_from_0_to_1():
    quality = Quality(0.9, 0.25)
    assert quality.value("agreement") == 0.9
    assert quality.value("loss") == math.exp(-0.25)


def test_costs_weigh_what_was_asked():
    config = settings(weigh_latency=0.1, weigh_macs=0.5)
    assert score(0.9, COSTS, config) == pytest.approx(0.9 - 0.06 - 0.2)


def test_bounds():
    assert over_budget(COSTS, settings()) == {}
    assert over_budget(COSTS, settings(max_latency=0.6, max_bytes=0.5)) == {}
    found = over_budget(COSTS, settings(max_latency=0.3, max_bytes=0.4, max_macs=0.5))
    assert found == {"latency": pytest.approx(1.0), "bytes": pytest.approx(0.25)}


def test_a_refused_candidate_is_below_all_others_and_the_farther_the_lower():
    config = settings(weigh_latency=0.3)
    near, far = (refused_score({"latency": excess}, config) for excess in (0.1, 2.0))
    worst = score(0.0, Costs(1, 1, 1, {"latency": 2.0, "bytes": 1, "macs": 1}), config)
    assert far < near < worst
