"""Real processes that share one work folder, and one of them killed."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kgraft import api
from kgraft.errors import KgraftError
from kgraft.pipeline import training

NAMES = ("one/block0", "one/block1", "two/blocks0-1")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    """One run that did everything in order."""
    return api.distill(world.config(workdir=str(tmp_path_factory.mktemp("alone"))))


@pytest.fixture(scope="module")
def whole(alone):
    """Its weights."""
    return alone.student.weights


def start(world, workdir, *extra):
    """Starts the command in a process of its own."""

    def text(value):
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    flags = [f"--{name}={text(value)}" for name, value in world.flags(workdir=workdir).items()]
    return subprocess.Popen(
        [sys.executable, "-m", "kgraft.cli.distill", *flags, *extra],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def trained(err):
    """The phases that a process has trained, in order."""
    lines = [line for line in err.splitlines() if "  step " in line]
    return [line.split()[1] for line in lines]


def assert_same_student(workdir, whole):
    student = keras.saving.load_model(workdir / "student.keras")
    for ours, theirs in zip(student.weights, whole, strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def test_two_at_once_train_every_phase_once(world, tmp_path, whole):
    workdir = tmp_path / "run"
    # One of them finds what the other has begun, whichever is the first.
    runs = [start(world, workdir, "--resume"), start(world, workdir, "--phases=0-2")]
    (out, err), (some_out, some_err) = [end(run) for run in runs]
    assert sorted(trained(err) + trained(some_err)) == sorted(NAMES)
    assert "student" in out and "finished" in some_out
    assert_same_student(workdir, whole)
    report = json.loads((workdir / "report.json").read_text())
    assert [phase["name"] for phase in report["phases"]] == list(NAMES)


def test_what_a_killed_run_leaves_another_takes_over(world, tmp_path, whole):
    workdir = tmp_path / "run"
    killed = start(world, workdir, "--phases=one/block1")
    at_work = workdir / "checkpoints" / "one_block1.lock"
    while not at_work.exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    # Stopped in the middle of its phase, it has the lock as long as it lives.
    killed.send_signal(signal.SIGSTOP)
    assert not at_work.with_suffix(".json").exists()
    other = start(world, workdir, "--resume")
    told = []
    for line in other.stderr:
        told.append(line)
        if "waiting for one/block1, which another run is training" in line:
            break
    assert trained("".join(told)) == ["one/block0"]
    killed.kill()
    killed.communicate()
    _, rest = end(other)
    assert trained(rest) == ["one/block1", "two/blocks0-1"]
    assert_same_student(workdir, whole)


def test_phases_in_any_order_and_a_later_run(world, tmp_path, whole, capsys, monkeypatch):
    workdir = tmp_path / "run"
    make_blocks, solved_from = training.make_blocks, []

    def spied(*arguments, views=None):
        solved_from.append(views)
        return make_blocks(*arguments, views=views)

    def run(**changes):
        return api.distill(world.config(workdir=str(workdir), **changes))

    monkeypatch.setattr(training, "make_blocks", spied)
    started = run(phases="1")
    assert started.workdir == workdir
    assert started.phases == {name: name == "one/block1" for name in NAMES}
    assert not {path.name for path in workdir.iterdir()} - {
        "checkpoints",
        "tensorboard",
        "transfer.json",
    }
    with pytest.raises(KgraftError, match=r"2 two/blocks0-1 goes on from .* finished: 0 one"):
        run(phases="two/blocks0-1")
    with pytest.raises(KgraftError, match=r"run of other settings: train\.steps was \[4, 4\]"):
        run(phases="0", steps=(5, 4))
    with pytest.raises(KgraftError, match="must be new or empty"):
        run()
    assert run(phases="0").phases == dict.fromkeys(NAMES, True) | {NAMES[2]: False}
    capsys.readouterr()
    result = run(resume=True)
    assert trained(capsys.readouterr().err) == [NAMES[2]]
    assert_same_student(workdir, whole)
    assert [phase.name for phase in result.report.phases] == list(NAMES)
    # The first run's start is put back by the others, which need its form alone.
    assert solved_from == [None, 16, 16]


def test_a_finished_run_is_neither_solved_nor_trained_again(world, tmp_path, monkeypatch, alone):
    shutil.copytree(alone.workdir / "checkpoints", tmp_path / "checkpoints")
    views = []
    fill_banks = api.fill_banks

    def spied(job, *rest):
        views.append(len(job.transfer.views))
        return fill_banks(job, *rest)

    monkeypatch.setattr(api, "fill_banks", spied)
    again = api.distill(world.config(workdir=str(tmp_path), resume=True))
    assert views == [16]
    assert_same_student(tmp_path, alone.student.weights)
    assert again.report.phases == alone.report.phases
