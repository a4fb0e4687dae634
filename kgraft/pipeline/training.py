"""The graft schedule carried out for a job."""

import hashlib
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from kgraft.config import RunConfig
from kgraft.grafting import (
    Checkpoints,
    OnProgress,
    PhaseResult,
    ProgressLine,
    TensorBoardLog,
    ViewBank,
    is_chief,
    make_loss,
    run_schedule,
    tell_all,
)
from kgraft.pipeline.job import Job
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.students import StudentBlock

SELECTION_RULES = {
    "heldout": "within each phase the weights of the lowest loss on held-out views, measured at "
    "its start and about eight times on the way; no test image and no label takes part",
    "last": "the weights after the last step of each phase",
}

# Settings no weight depends on, or only through the images drawn, which are in the key themselves:
# a stopped run may go on with another test set, less cache or a moved data folder.
_FREE = {
    "data": (
        "eval_dataset",
        "eval_split",
        "eval_data_dir",
        "labels",
        "data_dir",
        "manual_dir",
        "download",
        "on_corrupt",
    ),
    "train": ("cache_mb", "strategy"),
}


def open_checkpoints(
    job: Job, config: RunConfig, workdir: pathlib.Path, *, writes: bool
) -> Checkpoints:
    """Opens the checkpoints of a run, before it writes anything.

    Args:
        job: the input of the run.
        config: the settings.
        workdir: the work folder.
        writes: whether this process writes them.

    Raises:
        KgraftError: those in the work folder are of another run.
    """
    return Checkpoints(workdir / "checkpoints", _depends(job, config), writes=writes)


def train_student(
    job: Job,
    student: tuple[StudentBlock, ...],
    config: RunConfig,
    *,
    banks: tuple[ViewBank, ViewBank],
    strategy: tf.distribute.Strategy,
    checkpoints: Checkpoints,
    workdir: pathlib.Path,
    watch: Stopwatch,
) -> tuple[PhaseResult, ...]:
    """Trains all phases; those that a stopped run finished are taken from its checkpoints.

    Args:
        job: the input of the run.
        student: the student blocks, changed in place.
        config: the settings.
        banks: training and held-out views.
        strategy: the strategy the student was made under.
        checkpoints: where finished phases are kept.
        workdir: where TensorBoard scalars go.
        watch: times the part.

    Returns:
        What each phase did.

    Raises:
        KgraftError: training diverged.
    """
    chief = is_chief(strategy)
    board = TensorBoardLog(workdir / "tensorboard")
    listeners: list[OnProgress] = [ProgressLine(job.phases), board] if chief else []
    replicas = strategy.num_replicas_in_sync
    with watch.part("training", f"training {len(job.phases)} phases on {replicas} replica(s)"):
        try:
            return run_schedule(
                job.phases,
                student=student,
                checkpoints=checkpoints,
                chain=job.chain,
                bank=banks[0],
                heldout=banks[1],
                loss=make_loss(config.train.loss, temperature=config.train.temperature),
                feature_weight=config.train.feature_weight,
                strategy=strategy,
                seed=config.data.seed,
                select=config.train.select,
                on_progress=tell_all(*listeners),
            )
        finally:
            board.close()


def _depends(job: Job, config: RunConfig) -> dict[str, Any]:
    """What the weights of a run depend on: settings, images and the teacher's own weights."""
    settings = config.to_dict()
    depends = {
        part: {k: v for k, v in settings[part].items() if k not in _FREE.get(part, ())}
        for part in ("teacher", "student", "data", "train")
    }
    weights = hashlib.sha256()
    # Weights, not variables: a Dropout's random state differs from one load to the next.
    for layer in job.chain.graph.layers:
        for weight in layer.get_weights():
            weights.update(np.ascontiguousarray(weight).tobytes())
    views = hashlib.sha256(job.transfer.views.tobytes())
    views.update(job.transfer.heldout.tobytes())
    hashes = {"views_sha256": views.hexdigest(), "teacher_sha256": weights.hexdigest()}
    return {**depends, **hashes}
