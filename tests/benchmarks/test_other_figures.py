"""What the other benchmarks make of what they measure."""

import argparse
import pathlib

import pytest

from benchmarks import distillation, export, paper, scaling, shared_blocks, trials, turns
from kgraft.grafting import graft_schedule


def test_timed_updates_are_multiplied_up_to_the_schedule():
    rounds = [[0.5, 0.2, 0.1, 1.0, 2.0], [0.7, 0.2, 0.1, 1.0, 2.0], [0.6, 0.2, 0.1, 1.0, 9.0]]
    found = distillation.published_total(rounds)
    assert found == pytest.approx(200 * 0.6 + 120 * 0.2 + 120 * 0.1 + 200 * 1.0 + 200 * 2.0)


def test_kgraft_runs_the_papers_schedule():
    flags = argparse.Namespace(precision="float32", views=4)
    config = distillation.paper_config(pathlib.Path("here"), "teacher", flags)
    found = graft_schedule((3, 4, 5), config.train)
    assert [(p.start, p.stop, p.steps, p.block_rate, p.adapter_rate, p.batch) for p in found] == [
        (p.start, p.stop, p.updates, p.block_rate, p.adapter_rate, paper.BATCH)
        for p in paper.PHASES
    ]
    assert config.student.start == "teacher"
    assert config.train.precision == "float32"
    assert (config.data.images, config.data.shots, config.data.views) == (100, None, 4)
    assert (config.data.dataset, config.workdir) == ("npz:here/images.npz", "here/run")


def test_growth_is_held_against_what_an_axis_means():
    points = [
        {
            "phases": phases,
            "seconds": 2.0 * phases,
            "seconds_by_part": {"bank": 1.0, "training": phases**2},
            "peak_memory_mb": 600 + phases,
            "memory_before_mb": 600,
        }
        for phases in (1, 3, 7)
    ]
    found = scaling.exponents("blocks", points)
    assert found["against"] == "phases"
    assert found["exponent_seconds"] == pytest.approx(1)
    assert found["exponent_bank"] == pytest.approx(0)
    assert found["exponent_training"] == pytest.approx(2)
    assert found["exponent_memory"] == pytest.approx(1)


def test_every_axis_starts_from_the_base_and_grows():
    for axis, values in scaling.AXES.items():
        assert scaling.BASE[axis] in values
        assert list(values) == sorted(set(values))


def test_teacher_over_student_by_format_and_threads():
    times = {
        "teacher_float32": 6.0,
        "student_float32": 3.0,
        "teacher_int8": 4.0,
        "student_int8": 1.0,
    }
    assert export.latency_figures({2: times}) == {
        "teacher_float32_2t_ms": 6.0,
        "student_float32_2t_ms": 3.0,
        "teacher_int8_2t_ms": 4.0,
        "student_int8_2t_ms": 1.0,
        "ratio_float32_2t": 2.0,
        "ratio_int8_2t": 4.0,
        "ratio_float32_to_int8_2t": 6.0,
    }


def test_variants_take_turns():
    order = []

    def variant(name, value):
        def run():
            order.append(name)
            return value

        return run

    found = turns.take_turns({"a": variant("a", 1.0), "b": variant("b", 2.0)}, rounds=3)
    assert order == ["a", "b"] * 3
    assert found == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert turns.medians({"a": [1.0, 9.0, 2.0]}) == {"a": 2.0}


def test_memory_grows_by_what_the_later_trials_add():
    assert trials.growth([100.0, 102.0, 104.0, 106.0]) == pytest.approx(2)
    assert trials.growth([100.0]) == 0


def test_searches_are_the_same_when_every_trial_is():
    trial = {"trial": "0", "values": {}, "status": "trained", "loss": 0.5, "closed_loss": 0.75}
    times = {"seconds": 2.0, "cpu_seconds": 3.0}
    shared = {**times, "phases": 5, "phases_reused": 3, "trials": [{**trial, "seconds": 1}]}
    alone = {"seconds": 8.0, "cpu_seconds": 6.0, "trials": [{**trial, "seconds": 4}]}
    found = shared_blocks.compared(shared, alone)
    assert (found["share_of_time"], found["share_of_cpu_time"]) == (0.25, 0.5)
    assert found["phases_reused"] == 3
    assert found["same_results"]
    alone["trials"] = [{**trial, "loss": 0.5000001}]
    assert not shared_blocks.compared(shared, alone)["same_results"]
