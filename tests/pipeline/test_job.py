"""The banks of a run: what is kept where, and what the user is told of it."""

import keras
import numpy as np
import pytest

from kgraft import KgraftError, api
from kgraft.grafting import ViewBank
from kgraft.pipeline.job import fill_banks, open_job
from kgraft.pipeline.stopwatch import Stopwatch


def banks_of(world, tmp_path, capsys, **flags):
    config = world.config(workdir=str(tmp_path), **flags)
    banks = fill_banks(open_job(config, Stopwatch()), config, Stopwatch())
    told = [line for line in capsys.readouterr().err.splitlines() if "activations at" in line]
    return banks, told


def test_nothing_is_told_of_what_is_in_memory(world, tmp_path, capsys):
    (bank, heldout, _), told = banks_of(world, tmp_path, capsys)
    assert (len(bank), len(heldout)) == (48, 24) and told == []
    assert bank.cached == heldout.cached == (0, 1, 2, 3) and bank.spilled == ()


def test_mixed_views_are_told_of(world, tmp_path, capsys):
    config = world.config(workdir=str(tmp_path), mixed_views=5)
    fill_banks(open_job(config, Stopwatch()), config, Stopwatch())
    told = capsys.readouterr().err
    assert "running the teacher over 53 views (5 of them mixed) and the held-out ones" in told


def test_a_teacher_whose_logits_are_not_finite_is_refused(world, tmp_path):
    config = world.config(workdir=str(tmp_path))
    teacher = keras.saving.load_model(world.teacher)
    # Finite, and too large for what is made of them.
    teacher.set_weights([np.full_like(weight, 1e38) for weight in teacher.get_weights()])
    job = open_job(config, Stopwatch(), teacher)
    with pytest.raises(KgraftError, match="logits are not finite on 24 of 24 held-out views"):
        fill_banks(job, config, Stopwatch())


def test_a_teacher_that_names_one_class_is_told_of(world, tmp_path, capsys):
    config = world.config(workdir=str(tmp_path))
    teacher = keras.saving.load_model(world.teacher)
    logits = teacher.layers[-1]
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel * 0, 5 * np.eye(len(bias))[2]])
    fill_banks(open_job(config, Stopwatch(), teacher), config, Stopwatch())
    told = "kgraft: the teacher names class 2 on each of the 24 held-out views: "
    assert told in capsys.readouterr().err
    fill_banks(open_job(config, Stopwatch()), config, Stopwatch())
    assert "held-out views: where" not in capsys.readouterr().err


def test_what_is_on_disk_or_computed_anew_is_told(world, tmp_path, capsys):
    # 192 training and 24 held-out views: relu1 takes 1.7 MiB, relu2 0.4.
    flags = {"views": 16, "cache_mb": 1, "spill_mb": 2}
    (bank, heldout, _), told = banks_of(world, tmp_path, capsys, **flags)
    assert bank.spilled == heldout.spilled == (1,) and bank.cached == (0, 1, 2, 3)
    assert told == ["kgraft: activations at relu1: on disk"]
    (bank, *_), told = banks_of(world, tmp_path, capsys, cache_mb=0, spill_mb=0)
    assert bank.cached == (0, 3)
    assert told == [
        "kgraft: activations at relu1, relu2: computed anew at each step, beyond --cache_mb and "
        "--spill_mb"
    ]
    assert not list(tmp_path.iterdir())


def test_the_training_bank_is_made_in_the_precision_of_the_steps(world, tmp_path, capsys):
    (exact, heldout, compute), _ = banks_of(world, tmp_path, capsys, precision="float32")
    assert compute.dtype == "float32"
    rounded, _ = banks_of(world, tmp_path, capsys, precision="bfloat16")
    assert rounded.compute.dtype == "bfloat16"
    size = np.abs(exact.logits).max()
    error = np.abs(rounded.train.logits - exact.logits).max() / size
    assert 1e-5 < error < 0.05
    # What the choice of weights goes by is the teacher itself.
    np.testing.assert_array_equal(rounded.heldout.logits, heldout.logits)


def test_what_float16_cannot_hold_is_told(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ViewBank, "too_large", (2,))
    (bank, *_), told = banks_of(world, tmp_path, capsys, cache_dtype="float16")
    assert bank.tensor(1).dtype == np.float16
    assert told == ["kgraft: activations at relu2: in float32, beyond the range of float16"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_lets_its_banks_go(world, tmp_path, monkeypatch, fails):
    made = []

    def filled(*arguments):
        banks = fill_banks(*arguments)
        made.extend((banks.train, banks.heldout))
        return banks

    def failing(*_, **__):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(api, "fill_banks", filled)
    workdir = tmp_path / "run"
    config = world.config(workdir=str(workdir), cache_mb=0, spill_mb=2, steps=(1, 1))
    if fails:
        monkeypatch.setattr(api, "train_student", failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            api.distill(config)
    else:
        assert api.distill(config) is not None
    assert len(made) == 2 and all(bank.cached == () for bank in made)
    assert not (workdir / "cache").exists()
