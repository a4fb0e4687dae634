"""Stage one side by side: worker processes, one a device, that share the work folder.

A worker is a run of the stage-one phases (`--phases`) like any other: it takes the next one that is
neither finished nor another worker's. This process uses no device until they have ended.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Sequence

import keras
import tensorflow as tf

import kgraft
from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.grafting.checkpoints import result_path
from kgraft.phases import ALL, choose_phases
from kgraft.pipeline.plan import plan_phases
from kgraft.pipeline.stopwatch import Stopwatch, tell
from kgraft.pipeline.workdir import CHECKPOINTS, check_workdir

_COMMAND = (sys.executable, "-m", "kgraft.cli.worker")


def train_side_by_side(
    config: RunConfig, watch: Stopwatch, *, model: keras.Model | None = None
) -> bool:
    """Trains the stage-one phases in worker processes, where the settings ask for it.

    Args:
        config: the settings.
        watch: times the part.
        model: a loaded teacher, which no other process has.

    Returns:
        Whether it was done, so that this run goes on from what is in the work folder.

    Raises:
        KgraftError: more processes are asked for than there are GPUs, or a cluster trains already.
        KgraftError: the work folder is not one to write to.
        KgraftError: a worker failed; the message is its last line.
    """
    names = _stage_one_left(config)
    devices = _devices(config, len(names))
    if len(devices) < 2:
        return False
    if model is not None or _has_own_classes():
        tell("stage one is not trained side by side: other processes lack this one's model")
        return False
    check_workdir(pathlib.Path(config.workdir), resume=config.resume, shared=config.phases != ALL)
    told = f"training {len(names)} stage-one phases in {len(devices)} processes side by side"
    with watch.part("side by side", told):
        share = dataclasses.replace(
            config,
            # By stage, as an opened teacher may come to fewer blocks than the settings ask for.
            phases="one" if config.phases == ALL else ",".join(names),
            side_by_side="off",
            # What all would time at once says nothing; this run holds them up afterwards.
            export=dataclasses.replace(config.export, target_bytes=None, target_latency_ms=None),
        )
        _run_workers(share, devices)
    return True


def _has_own_classes() -> bool:
    """Whether the user's code has registered classes, which a loaded teacher may be made of."""
    return bool(keras.saving.get_custom_objects())


def _stage_one_left(config: RunConfig) -> list[str]:
    """The stage-one phases this run does and that are not finished."""
    spans = plan_phases(config)
    asked = choose_phases(config.phases, [span.name for span in spans])
    folder = pathlib.Path(config.workdir, CHECKPOINTS)
    return [
        span.name
        for span in spans
        if span.stage == 1
        and (asked is None or span.name in asked)
        and not result_path(folder, span.name).exists()
    ]


def _devices(config: RunConfig, phases: int) -> list[dict[str, str]]:
    """What each worker's environment says about its device; nothing where there are no workers.

    No more workers than phases: each would have less of the cores for nothing.
    """
    cluster = config.train.strategy == "multi_worker" or bool(os.environ.get("TF_CONFIG"))
    gpus = _visible_gpus()
    if config.side_by_side == "off":
        return []
    if config.side_by_side == "auto":
        one = cluster or config.train.strategy == "one_device"
        return [] if one else _gpu_environments(gpus[:phases])
    count = int(config.side_by_side)
    if cluster and count > 1:
        raise KgraftError(
            f"--side_by_side={count} is for one machine; in a cluster every worker trains every "
            "phase: leave it out, or run --phases on each machine without TF_CONFIG"
        )
    if gpus and count > len(gpus):
        raise KgraftError(
            f"--side_by_side={count}: there are {len(gpus)} GPUs, and each process needs its own"
        )
    count = max(1, min(count, phases))
    return _gpu_environments(gpus[:count]) if gpus else _cpu_environments(count)


def _visible_gpus() -> list[str]:
    """Numbers or names of the GPUs this process may use, without touching one."""
    count = len(tf.config.list_physical_devices("GPU"))
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed.split(",")[:count] if listed else [str(index) for index in range(count)]


def _gpu_environments(gpus: Sequence[str]) -> list[dict[str, str]]:
    return [{"CUDA_VISIBLE_DEVICES": gpu.strip()} for gpu in gpus]


def _cpu_environments(count: int) -> list[dict[str, str]]:
    """Each process gets its share of the cores."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    threads = str(max(1, cores // count))
    return [{"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}] * count


def _run_workers(config: RunConfig, devices: Sequence[dict[str, str]]) -> None:
    workers: list[subprocess.Popen[str]] = []
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        try:
            for device in devices:
                workers.append(_start(config, device))
            jobs = [pool.submit(_follow, *numbered) for numbered in enumerate(workers)]
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        finally:
            # The first failure ends all, and so does Ctrl-C; what is finished is on disk.
            for worker in workers:
                worker.kill()


def _start(config: RunConfig, device: dict[str, str]) -> subprocess.Popen[str]:
    paths = [str(pathlib.Path(kgraft.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    worker = subprocess.Popen(
        _COMMAND,
        env={**os.environ, **device, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C is this process's to answer.
        start_new_session=True,
    )
    assert worker.stdin is not None
    # The pipe stays open: a worker ends when it closes, which it does however this process ends.
    worker.stdin.write(pickle.dumps(config).hex() + "\n")
    worker.stdin.flush()
    return worker


def _follow(number: int, worker: subprocess.Popen[str]) -> None:
    """Passes a worker's lines on until it ends."""
    assert worker.stderr is not None
    last = "it said nothing"
    for line in worker.stderr:
        last = line.strip() or last
        print(f"[{number}] {line.rstrip()}", file=sys.stderr, flush=True)
    code = worker.wait()
    if code:
        error = last.removeprefix("kgraft-distill: error: ")
        how = f"was killed by signal {-code}" if code < 0 else f"failed: {error}"
        raise KgraftError(f"process {number} of --side_by_side {how}")
