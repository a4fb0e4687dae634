import dataclasses
import pathlib

import numpy as np
import pytest
from absl import flags
from small_models import assert_close

from kgraft.cli import distill_flags, entry
from kgraft.comparison.grafted import (
    PAPER_CIFAR10,
    PAPER_CIFAR100,
    closed,
    paper,
    paper_config,
    paper_phases,
    shared_out,
)
from kgraft.config import RunConfig, StudentConfig, TrainConfig
from kgraft.grafting import fuse, graft_schedule
from kgraft.pipeline.job import make_blocks
from kgraft.pipeline.stopwatch import Stopwatch

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def run_config(shots):
    return RunConfig.from_flags(teacher="a.keras", dataset="npz:a.npz", shots=shots, steps=(7, 9))


def phases(shots, plan=PAPER_CIFAR10):
    train = paper_config(run_config(shots), shots / 10).train
    return paper_phases(graft_schedule([3, 4, 5], train), plan, shots / 10)


@pytest.mark.parametrize(("shots", "batch"), [(1, 6), (2, 12), (5, 32), (10, 64), (50, 320)])
def test_the_papers_batch_and_updates(shots, batch):
    found = phases(shots)
    assert {phase.batch for phase in found} == {batch}
    assert [phase.steps for phase in found] == [200, 120, 120, 200, 200]
    assert sum(phase.steps for phase in found) == 840


def test_the_papers_rates_on_cifar10():
    found = phases(10)
    assert [phase.block_rate for phase in found] == [2.5e-4] * 3 + [1e-4] * 2
    assert [phase.adapter_rate for phase in found] == [2.5e-3] * 3 + [1e-4] * 2
    one = phases(1)
    np.testing.assert_allclose([p.block_rate for p in one], [2.5e-5] * 3 + [1e-4] * 2)
    np.testing.assert_allclose([p.adapter_rate for p in one], [2.5e-4] * 3 + [1e-4] * 2)


def test_the_papers_rates_and_updates_on_cifar100():
    found = phases(10, PAPER_CIFAR100)
    assert [phase.block_rate for phase in found] == [2.5e-4, 1e-3, 1e-3, 1e-4, 1e-4]
    assert [phase.adapter_rate for phase in found] == [1e-3] * 3 + [1e-4] * 2
    assert [phase.steps for phase in found] == [16_000, 3_200, 3_200, 2_400, 2_400]


def test_a_budget_is_shared_out_as_the_paper_does():
    plan = shared_out(PAPER_CIFAR10, 1450, 4)
    assert (plan.updates_first, plan.updates_next, plan.updates_two) == (250, 150, 250)
    assert plan.rate_first == PAPER_CIFAR10.rate_first
    assert shared_out(PAPER_CIFAR10, 7, 1).updates_first == 7
    assert shared_out(PAPER_CIFAR10, 2, 3).updates_first == 2


def test_other_numbers_of_classes_have_the_common_budget(setting):
    made = paper(setting)
    # Three blocks, two updates for each of the five phases.
    assert setting.updates == 10
    assert made.updates == 4 + 1 + 1 + 2 + 2
    assert made.settings["batch"] == setting.config.train.batch == 8
    assert made.settings["rate_first"] == PAPER_CIFAR10.rate_first
    assert "the paper states no settings for this number of classes" in made.notes[1]
    assert len(made.notes) == 2


def test_the_paper_sees_no_mixed_views(world, pixels):
    def made(mixed):
        return paper(world.setting(mixed_views=mixed, graft="3", steps=(4, 0)))

    plain, found = made(0), made(40)
    assert plain.settings["views_used"] == found.settings["views_used"] == 30
    # The teacher runs over them in other batches, which round otherwise.
    assert_close(found.student.graph(pixels), np.asarray(plain.student.graph(pixels)), 1e-3)


def test_the_papers_loss_and_start_whatever_ours_are():
    train = TrainConfig(
        loss="kl",
        feature_weight=3.0,
        optimizer="muon",
        decay="cosine",
        order="backward",
        select="heldout",
        precision="bfloat16",
        fake_quant="int8",
    )
    student = StudentConfig(start="teacher")
    config = paper_config(dataclasses.replace(run_config(10), train=train, student=student), 1.0)
    train = config.train
    assert (train.loss, train.feature_weight) == ("normalized_mse", 0)
    assert (train.optimizer, train.decay, train.order) == ("adam", "constant", "forward")
    assert (train.select, train.precision, train.fake_quant) == ("last", "float32", "none")
    assert config.student.start == "random"


@pytest.mark.parametrize(
    ("name", "plan"), [("cifar10_paper", PAPER_CIFAR10), ("cifar100_paper", PAPER_CIFAR100)]
)
def test_the_flagfiles_of_the_paper_say_the_same(name, plan):
    flag_values = flags.FlagValues()
    distill_flags.define_flags(flag_values)
    flags.DEFINE_string("flagfile", "", "", flag_values=flag_values)
    entry.parse(flag_values, [f"--flagfile={CONFIGS / f'{name}.flags'}"])
    config = distill_flags.build_config(flag_values)
    assert graft_schedule([3, 4, 5], config.train) == phases(10, plan)
    ours = paper_config(config, 1.0)
    assert dataclasses.replace(ours, train=config.train) == config
    kept = {"steps": (1, 1), "block_rate": 1.0, "adapter_rate": 1.0}
    assert dataclasses.replace(ours.train, **kept) == dataclasses.replace(config.train, **kept)


def test_closed_is_the_start_of_a_run_without_steps(setting, pixels):
    phases = tuple(dataclasses.replace(phase, steps=0) for phase in setting.job.phases)
    job = dataclasses.replace(setting.job, phases=phases)
    blocks = make_blocks(job, setting.config, setting.bank, Stopwatch())
    found = closed(setting)
    assert found.updates == 0
    wanted = np.asarray(fuse(blocks).graph(pixels))
    np.testing.assert_array_equal(found.student.graph(pixels), wanted)


def test_closed_is_solved_whatever_the_flags_start_from(setting, world, pixels):
    made = closed(world.setting(start="random"))
    wanted = closed(setting).student.graph(pixels)
    np.testing.assert_array_equal(made.student.graph(pixels), wanted)
