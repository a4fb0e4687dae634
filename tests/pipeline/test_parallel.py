"""Stage one in processes side by side: who gets which device, and what they leave behind."""

import os
import pickle
import signal
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from kgraft import api
from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.pipeline import parallel
from kgraft.pipeline.stopwatch import Stopwatch

CPUS = {"TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2"}


@pytest.fixture
def machine(monkeypatch):
    """Pretends to be a machine with four cores and some GPUs."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)

    def devices(gpus, phases=9, **flags):
        listed = types.SimpleNamespace(list_physical_devices=lambda kind: ["gpu"] * gpus)
        monkeypatch.setattr(parallel.tf, "config", listed)
        config = RunConfig.from_flags(teacher="t.keras", dataset="folder:x", **flags)
        return parallel._devices(config, phases)

    return devices


@pytest.fixture(autouse=True)
def no_own_classes(monkeypatch):
    """Hides the classes that other tests have registered."""
    registered = {}
    monkeypatch.setattr(keras.saving, "get_custom_objects", lambda: registered)
    return registered


def gpus(*names):
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names]


def test_auto_is_one_process_a_gpu(machine):
    assert machine(0) == []
    assert machine(2) == gpus("0", "1")
    assert machine(2, side_by_side="off") == machine(2, strategy="one_device") == []


def test_a_number_takes_gpus_or_shares_the_cores(machine):
    assert machine(3, side_by_side=2) == gpus("0", "1")
    assert machine(0, side_by_side=2) == [CPUS] * 2
    assert machine(0, side_by_side=1) == [dict.fromkeys(CPUS, "4")]
    assert machine(0, side_by_side=9)[0] == dict.fromkeys(CPUS, "1")
    assert machine(0, phases=2, side_by_side=9) == [CPUS] * 2
    assert len(machine(0, phases=0, side_by_side=2)) == 1
    with pytest.raises(KgraftError, match="--side_by_side=3: there are 2 GPUs"):
        machine(2, side_by_side=3)


def test_the_gpus_that_may_be_seen(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert machine(2) == gpus("3", "5")


def test_a_cluster_trains_every_phase_together(machine, monkeypatch):
    with pytest.raises(KgraftError, match="--side_by_side=2 is for one machine; in a cluster"):
        machine(0, side_by_side=2, strategy="multi_worker")
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert machine(2) == []


def side_by_side(world, workdir, **changes):
    return world.config(workdir=str(workdir), side_by_side=2, **changes)


def test_stage_one_side_by_side(world, tmp_path, capfd):
    result = api.distill(side_by_side(world, tmp_path / "both"))
    told = capfd.readouterr().err
    names = ["one/block0", "one/block1", "two/blocks0-1"]
    assert [phase.name for phase in result.report.phases] == names
    for number, name in enumerate(names, start=1):
        (line,) = [line for line in told.splitlines() if f"[{number}/3] {name}  step" in line]
        assert line.startswith(("[0] ", "[1] ")) == name.startswith("one/")
    assert "side by side" in result.report.seconds
    assert result.report.flags["resume"] is False
    alone = api.distill(world.config(workdir=str(tmp_path / "alone")))
    # With as many threads it would be the same to the bit; half as many round differently.
    for ours, theirs in zip(result.student.weights, alone.student.weights, strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-4)


def test_a_process_that_fails_ends_the_run(world, tmp_path, monkeypatch):
    run_workers = parallel._run_workers
    # One process is enough to fail.
    monkeypatch.setattr(parallel, "_run_workers", lambda share, _: run_workers(share, [CPUS]))
    with pytest.raises(KgraftError) as error:
        api.distill(side_by_side(world, tmp_path / "run", block_rate=1e30))
    message = str(error.value)
    assert message.startswith("process 0 of --side_by_side failed: phase one/block0")
    assert "lower --block_rate (now 1e+30)" in message
    assert not (tmp_path / "run" / "report.json").exists()


WORKER = """
import os, sys, time
if os.environ["ROLE"] == "fail":
    sys.exit("kgraft-distill: error: it broke")
time.sleep(600)
"""


def test_the_first_failure_ends_the_other_processes(world, monkeypatch):
    started, start = [], parallel._start
    monkeypatch.setattr(parallel, "_COMMAND", (sys.executable, "-c", WORKER))
    monkeypatch.setattr(parallel, "_start", lambda *a: started.append(start(*a)) or started[-1])
    with pytest.raises(KgraftError, match=r"^process 1 of --side_by_side failed: it broke$"):
        parallel._run_workers(world.config(), [{"ROLE": "work"}, {"ROLE": "fail"}])
    assert started[0].wait() == -signal.SIGKILL


def test_a_used_folder_is_refused_before_a_process_starts(world, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(parallel, "_run_workers", pytest.fail)
    with pytest.raises(KgraftError, match="must be new or empty"):
        api.distill(side_by_side(world, tmp_path))


def test_processes_are_told_the_stage_as_there_may_be_fewer_blocks(world, tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr(parallel, "_run_workers", lambda share, _: shares.append(share.phases))
    for phases in ("all", "0-1"):
        config = side_by_side(world, tmp_path / "run", phases=phases, teacher_cuts=5)
        assert parallel.train_side_by_side(config, Stopwatch(say=None))
    assert shares == ["one", "one/block0,one/block1"]


def test_what_needs_no_second_process(world, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_run_workers", pytest.fail)

    def done(config, **options):
        return parallel.train_side_by_side(config, Stopwatch(), **options)

    assert not done(side_by_side(world, tmp_path, graft="1"))
    assert not done(side_by_side(world, tmp_path, phases="0,2"))
    assert not done(side_by_side(world, tmp_path), model=keras.Model())
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "one_block0.json").write_text("{}")
    assert not done(side_by_side(world, tmp_path, resume=True))
    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoints"]


def test_a_teacher_of_the_users_own_classes_stays_here(
    world, tmp_path, monkeypatch, capsys, no_own_classes
):
    monkeypatch.setattr(parallel, "_run_workers", pytest.fail)
    no_own_classes["mine>Layer"] = types.SimpleNamespace
    assert not parallel.train_side_by_side(side_by_side(world, tmp_path), Stopwatch())
    assert "not trained side by side: other processes lack" in capsys.readouterr().err


def test_a_process_ends_with_its_parent(world, tmp_path):
    config = world.config(workdir=str(tmp_path / "run"), steps=(10**6, 0), phases="0")
    worker = subprocess.Popen(
        [sys.executable, "-m", "kgraft.cli.worker"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    worker.stdin.write(pickle.dumps(config).hex() + "\n")
    worker.stdin.flush()
    told = [next(line for line in worker.stderr if "training 1 phases" in line)]
    # However a parent ends, its end of the pipe is closed.
    worker.stdin.close()
    assert worker.wait(60) == 130, told
