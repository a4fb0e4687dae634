import dataclasses

import keras
import numpy as np
from keras import layers as kl

from kgraft.config import RunConfig
from kgraft.grafting import make_strategy
from kgraft.pipeline.job import open_job
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.training import open_checkpoints, what_training_needs


def saved_teacher(path, seed, activation="relu"):
    keras.utils.set_random_seed(seed)
    image = keras.Input((16, 16, 3))
    x = kl.Conv2D(4, 3, activation=activation, name="conv")(image)
    x = kl.Dropout(0.5)(kl.GlobalAveragePooling2D()(x))
    keras.Model(image, kl.Dense(4)(x)).save(path)
    return str(path)


def checkpoints_of(world, teacher, workdir, **settings):
    config = RunConfig.from_flags(
        teacher=teacher,
        teacher_cuts="conv",
        graft="0",
        dataset=world.npz,
        shots=1,
        **{"mixed_views": 0} | settings,
    )
    config = dataclasses.replace(config, workdir=str(workdir))
    strategy = make_strategy("one_device")
    return open_checkpoints(open_job(config, Stopwatch()), config, strategy=strategy)


def test_what_a_resumed_run_must_share(world, tmp_path):
    teacher = saved_teacher(tmp_path / "teacher.keras", seed=0)
    first = checkpoints_of(world, teacher, tmp_path)
    # A Dropout in the teacher draws another random state each time it is loaded.
    moved = {"cache_mb": 1, "spill_mb": 1, "strategy": "mirrored", "phases": "0"}
    again = checkpoints_of(world, teacher, tmp_path, **moved)
    assert first._settings == again._settings
    rounded = checkpoints_of(world, teacher, tmp_path, cache_dtype="float16")
    assert first._settings != rounded._settings
    int8 = checkpoints_of(world, teacher, tmp_path, fake_quant="int8")
    assert first._settings != int8._settings
    saved_teacher(tmp_path / "teacher.keras", seed=1)
    other = checkpoints_of(world, teacher, tmp_path)
    assert other._settings["teacher_sha256"] != first._settings["teacher_sha256"]
    saved_teacher(tmp_path / "teacher.keras", seed=1, activation="tanh")
    bent = checkpoints_of(world, teacher, tmp_path)
    assert bent._settings["teacher_sha256"] != other._settings["teacher_sha256"]
    moved = checkpoints_of(world, teacher, tmp_path, seed=1)
    assert moved._settings["views_sha256"] != first._settings["views_sha256"]


def test_mixed_views_are_known_by_their_number(world, tmp_path):
    teacher = saved_teacher(tmp_path / "teacher.keras", seed=0)
    auto = checkpoints_of(world, teacher, tmp_path, mixed_views="auto")._settings
    number = auto["data"]["mixed_views"]
    assert number > 0
    assert checkpoints_of(world, teacher, tmp_path, mixed_views=number)._settings == auto
    other = checkpoints_of(world, teacher, tmp_path, mixed_views=number - 1)._settings
    assert other["data"] != auto["data"] and other["views_sha256"] != auto["views_sha256"]


def test_an_own_student_is_known_by_what_it_computes(world, tmp_path):
    teacher = saved_teacher(tmp_path / "teacher.keras", seed=0)

    def of_own(seed):
        own = saved_teacher(tmp_path / "own.keras", seed=seed)
        made = checkpoints_of(world, teacher, tmp_path, student=own, student_cuts="conv")
        return made._settings["student_sha256"]

    first = of_own(1)
    assert of_own(1) == first != of_own(2)
    assert "student_sha256" not in checkpoints_of(world, teacher, tmp_path)._settings


def test_the_few_views_of_a_finished_run_are_of_all_classes(world, tmp_path, monkeypatch):
    teacher = saved_teacher(tmp_path / "teacher.keras", seed=0)
    flags = {"teacher_cuts": "conv", "graft": "0", "mixed_views": 5, "workdir": str(tmp_path)}
    config = world.config(teacher=teacher, **flags)
    job = open_job(config, Stopwatch())
    checkpoints = open_checkpoints(job, config, strategy=make_strategy("one_device"))
    monkeypatch.setattr(type(checkpoints), "has_start", lambda _: True)
    monkeypatch.setattr(type(checkpoints), "finished", lambda *_: object())
    whole, few = job.transfer.heldout, what_training_needs(job, config, checkpoints).transfer
    assert len(few.heldout) == 16 < len(whole)
    assert (job.transfer.mixed, few.mixed) == (5, 0)
    np.testing.assert_array_equal(few.heldout[0], whole[0])
    np.testing.assert_array_equal(few.heldout[-1], whole[-1])
