"""Small distillations in a process of its own: python run_graft.py FOLDER '[{"name": ...}, ...]'.

Options of a run: `name` (the student's weights go to FOLDER/NAME.npz), `strategy`, `batch`, `steps`
(of each phase), `last` (how many of the three phases), `batchnorm`, `bank` (options of `ViewBank`),
`workdir` (for checkpoints), `seed` (of the starting weights), `optimizer`, `fake_quant`, `kill`
([phase, step]: the process kills itself there). There are two logical CPUs.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from grafting_cases import make_bank, make_chain, make_student, make_teacher, read_weights

from kgraft.config import TrainConfig
from kgraft.grafting import (
    Checkpoints,
    Progress,
    graft_schedule,
    has_several_workers,
    is_chief,
    make_loss,
    make_strategy,
    positions_wanted,
    run_schedule,
    settle_start,
)


def _set_devices() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * (1 if "TF_CONFIG" in os.environ else 2)
    tf.config.set_logical_device_configuration(cpu, devices)


def _train(options: dict[str, Any]) -> TrainConfig:
    return TrainConfig(
        steps=(options.get("steps", 6),) * 2,
        batch=options.get("batch", 8),
        optimizer=options.get("optimizer", "adam"),
        block_rate=1e-2,
        adapter_rate=1e-2,
        block_rate_two=1e-3,
        adapter_rate_two=1e-3,
    )


def distil(folder: Path, options: dict[str, Any]) -> None:
    """Grafts blocks 0 and 1, together at the end, and writes the weights."""
    strategy = make_strategy(options.get("strategy", "one_device"))
    batchnorm = options.get("batchnorm", False)
    with strategy.scope():
        chain = make_chain(make_teacher(batchnorm=batchnorm))
        student = make_student(chain, batchnorm=batchnorm, seed=options.get("seed", 1))
    phases = graft_schedule((0, 1), _train(options))[-options.get("last", 3) :]
    wanted = positions_wanted(phases, features=True)

    def on_progress(progress: Progress) -> None:
        place = [progress.phase.name, progress.step]
        if len(progress.losses) and place == options.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints = None
    if "workdir" in options:
        cluster = has_several_workers(strategy)
        checkpoints = Checkpoints(
            options["workdir"], {}, writes=is_chief(strategy), cluster=cluster
        )
        settle_start(student, checkpoints)
    run_schedule(
        phases,
        student=student,
        checkpoints=checkpoints,
        chain=chain,
        bank=make_bank(chain, **options.get("bank", {"cache_mb": 1}), positions=wanted),
        heldout=make_bank(chain, n=7, seed=1),
        loss=make_loss("normalized_mse"),
        feature_weight=0.5,
        strategy=strategy,
        seed=0,
        fake_quant=options.get("fake_quant", "none"),
        on_progress=on_progress,
    )
    if is_chief(strategy):
        np.savez(folder / f"{options['name']}.npz", *read_weights(student))


if __name__ == "__main__":
    _set_devices()
    for run in json.loads(sys.argv[2]):
        distil(Path(sys.argv[1]), run)
