import types

import pytest
from tuning_cases import settings

from kgraft.errors import KgraftError
from kgraft.tuning import budget
from kgraft.tuning.bench import Bench
from kgraft.tuning.budget import check_budget, macs, smallest
from kgraft.tuning.costs import CostBook
from kgraft.tuning.objective import Costs

pytestmark = pytest.mark.usefixtures("quick_costs")
VARY = ("block1=keep|width|inner", "block1_ratio=0.25..0.75:0.25", "block2=keep|drop|width:0.9")


@pytest.fixture(scope="module")
def bench(world):
    return Bench(world.config(vary=VARY), world.teacher)


def test_the_smallest_student_of_a_space(bench):
    values = smallest(bench)
    assert (values["block1"], values["block1_ratio"]) == ("width", 0.25)
    assert values["block2"] == "drop"


def test_a_kept_block_may_be_the_smallest_but_not_all(world):
    bench = Bench(world.config(vary=("block1=keep|width:0.5", "block2=keep|drop")), world.teacher)
    values = smallest(bench, lambda model: -macs(model))
    assert (values["block1"], values["block2"]) == ("keep", "drop")


def test_a_budget_that_no_student_keeps_to_is_refused_by_name(world, tmp_path):
    found = Bench(world.config(max_macs=0.05), world.teacher)
    with pytest.raises(KgraftError) as caught:
        check_budget(found, CostBook(tmp_path, found.start.chain.graph), print)
    assert str(caught.value).startswith(
        "--max_macs=0.05: a student of this space that keeps to it was not found; the smallest "
        "that was weighed (--graft=1=width:0.5) has 0."
    )
    assert "of the teacher's multiply-adds: give a larger bound" in str(caught.value)


@pytest.fixture
def check(monkeypatch):
    """Checks bounds against two students that are small in different ways; returns what is said."""
    shares = {
        "1=drop": {"latency": 0.5, "bytes": 0.8, "macs": 0.2},
        "1=width:0.5": {"latency": 0.6, "bytes": 0.4, "macs": 0.3},
    }
    found = [(graft, Costs(1.0, 1, 1, share)) for graft, share in shares.items()]
    monkeypatch.setattr(budget, "_weighed", lambda *_: found)

    def made(**bounds):
        lines = []
        check_budget(types.SimpleNamespace(config=settings(**bounds)), None, lines.append)
        return lines

    return made


def test_each_bound_is_held_against_what_is_smallest_in_it(check):
    assert check(max_macs=0.25, max_bytes=0.5, max_latency=0.55) == []
    with pytest.raises(KgraftError, match=r"--max_bytes=0\.3: .*1=width:0\.5\) has 0\.4 of the"):
        check(max_macs=0.25, max_bytes=0.3)


def test_a_bound_on_the_latency_is_refused_only_where_it_is_far_away(check):
    (line,) = check(max_latency=0.3)
    assert line.startswith("--max_latency=0.3: a student of this space that keeps to it was not f")
    with pytest.raises(KgraftError, match=r"--max_latency=0\.2: .*\(--graft=1=drop\) has 0\.5"):
        check(max_latency=0.2)


def test_a_recipe_with_a_ratio_of_its_own_keeps_it(world):
    vary = ("block1=width|inner:0.25", "block1_ratio=0.5..0.9:0.1")
    values = smallest(Bench(world.config(vary=vary), world.teacher), lambda model: -macs(model))
    # The largest is asked for: the inner layers alone at a quarter, and not the whole at a half.
    assert (values["block1"], values["block1_ratio"]) == ("inner:0.25", None)
