import dataclasses

import numpy as np
import pytest

from kgraft.grafting import PhaseResult
from kgraft.grafting.span import state_variables
from kgraft.students import Recipe, Start, make_student
from kgraft.students.recipes import KEEP
from kgraft.tuning.bench import Bench
from kgraft.tuning.block_cache import PhaseCache, StartCache

SETTINGS = {"teacher": "abc", "seed": 0}


@pytest.fixture(scope="module")
def job(world):
    bench = Bench(world.config(graft="1-2"), world.teacher)
    return bench.job(bench.config.run)


@pytest.fixture
def student(job):
    return make_student(job.chain, job.recipes, Start("random", lambda p, n: None, 0))


@pytest.fixture
def cache(job, student, tmp_path):
    def make(*, phases=job.phases, settings=SETTINGS, recipes=("keep", "width:0.5", "width:0.5")):
        return PhaseCache(tmp_path, phases, student, recipes=recipes, settings=settings)

    return make


def result(name, blocks):
    return PhaseResult(name, blocks, 1, 1.0, 0.5, 0.4, 0.3, 0.2, 0.9, 0.95, 1)


def values(student, index):
    return [v.numpy() for part in state_variables(student[index]).values() for v in part]


def change(student, index):
    for part in state_variables(student[index]).values():
        for variable in part:
            variable.assign(variable + 1.0)


def test_what_started_from_the_same_weights_is_finished_for_all(cache, student):
    first = cache()
    before = values(student, 1)
    assert first.finished("one/block1") is None
    change(student, 1)
    trained = values(student, 1)
    first.save(student, result("one/block1", (1,)))
    assert not first.reused
    for part in state_variables(student[1]).values():
        for variable in part:
            variable.assign(variable - 1.0)
    np.testing.assert_allclose(values(student, 1)[0], before[0], atol=1e-6)
    # Adding and taking away rounds: other weights, another start.
    exact = cache()
    for variable, value in zip(
        [v for part in state_variables(student[1]).values() for v in part], before, strict=True
    ):
        variable.assign(value)
    assert exact.finished("one/block1") == result("one/block1", (1,))
    exact.restore("one/block1", student)
    for got, wanted in zip(values(student, 1), trained, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert exact.reused == {"one/block1"}


def test_anything_else_is_another_phase(cache, job, student):
    first = cache()
    assert first.finished("one/block1") is None
    first.save(student, result("one/block1", (1,)))
    assert cache().finished("one/block1") is not None
    longer = tuple(dataclasses.replace(phase, steps=99) for phase in job.phases)
    assert cache(phases=longer).finished("one/block1") is None
    assert cache(settings={**SETTINGS, "seed": 1}).finished("one/block1") is None
    assert cache(recipes=("keep", "inner:0.5", "width:0.5")).finished("one/block1") is None
    # The recipe of a block outside the span does not matter.
    assert cache(recipes=("keep", "width:0.5", "drop")).finished("one/block1") is not None
    change(student, 2)
    assert cache().finished("one/block1") is not None
    change(student, 1)
    assert cache().finished("one/block1") is None


def test_what_a_block_has_become_counts_and_not_what_was_asked_for(cache, student):
    first = cache()
    assert first.finished("one/block1") is None
    first.save(student, result("one/block1", (1,)))
    # Another ratio that leaves as many channels.
    assert cache(recipes=("keep", "width:0.52", "width:0.5")).finished("one/block1") is not None


def test_a_rate_that_moves_nothing_does_not_matter(cache, job, student):
    def rates(**changes):
        return tuple(dataclasses.replace(phase, **changes) for phase in job.phases)

    first = cache()
    name = "one/block1"
    assert first.finished(name) is None
    first.save(student, result(name, (1,)))
    assert student[1].exit is not None
    assert cache(phases=rates(adapter_rate=0.5)).finished(name) is None
    assert cache(phases=rates(block_rate=0.5)).finished(name) is None
    idle = cache(phases=rates(steps=0))
    assert idle.finished(name) is None
    idle.save(student, result(name, (1,)))
    still = rates(steps=0, block_rate=0.5, adapter_rate=0.5, optimizer="sgd", decay="constant")
    assert cache(phases=still).finished(name) is not None


@pytest.mark.parametrize("what", ["adapter_rate", "block_rate"])
def test_without_adapters_their_rate_does_not_matter(job, tmp_path, what):
    recipes = (KEEP, Recipe("inner", 0.5), KEEP)
    student = make_student(job.chain, recipes, Start("random", lambda p, n: None, 0))
    assert student[1].entry is student[1].exit is None
    found = []
    for rate in (0.1, 0.2):
        phase = dataclasses.replace(job.phases[0], **{what: rate})
        kinds = ("keep", "inner:0.5", "keep")
        made = PhaseCache(tmp_path, [phase], student, recipes=kinds, settings=SETTINGS)
        found.append(made.finished("one/block1"))
        made.save(student, result("one/block1", (1,)))
    assert found[0] is None
    assert (found[1] is not None) == (what == "adapter_rate")


def test_a_phase_is_one_processes_at_a_time(cache):
    with cache().lock("one/block1") as mine, cache().lock("one/block1") as theirs:
        assert (mine, theirs) == (True, False)


def test_a_solved_block_comes_back_as_it_was(world, job, tmp_path):
    bank_views = job.transfer.views

    def activations(position, count):
        from kgraft.grafting import ViewBank

        bank = ViewBank(bank_views, chain=job.chain, preprocess="unit")
        rows = np.linspace(0, len(bank) - 1, min(count, len(bank))).astype(int)
        return bank.activation(position, rows)

    start = Start("teacher", activations, 0)
    maker = StartCache(tmp_path, SETTINGS)
    made = make_student(job.chain, job.recipes, start, make=maker)
    assert len(list(tmp_path.glob("start_*.npz"))) == 2
    again = make_student(job.chain, job.recipes, start, make=maker)
    plain = make_student(job.chain, job.recipes, start)
    for index in (1, 2):
        for one, other, third in zip(
            values(made, index), values(again, index), values(plain, index), strict=True
        ):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(one, third)
    assert len(list(tmp_path.glob("start_*.npz"))) == 2
