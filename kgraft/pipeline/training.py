"""The graft schedule carried out for a job."""

import dataclasses
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
    check_ready,
    has_several_workers,
    is_chief,
    make_loss,
    run_schedule,
    settle_start,
    tell_all,
)
from kgraft.grafting.checkpoints import START
from kgraft.graph import graph_sha256
from kgraft.phases import ALL, choose_phases
from kgraft.pipeline.compression import compression_left
from kgraft.pipeline.job import Banks, Job, make_blocks, own_sha256
from kgraft.pipeline.stopwatch import Stopwatch, tell
from kgraft.pipeline.workdir import CHECKPOINTS, TENSORBOARD
from kgraft.students import StudentBlock

SELECTION_RULES = {
    "heldout": "within each phase the weights of the lowest loss on held-out views, measured at "
    "its start and about eight times on the way; no test image and no label takes part",
    "last": "the weights after the last step of each phase",
}

# Views that stand in for all where the weights are put back from the checkpoints. From few views
# student blocks are soon solved, with wrong weights and a wrong choice of channels, but of the
# right form.
_FEW = 16
_STARTING = "waiting for another run that makes the student blocks"
# Settings no weight depends on, or only through the images drawn, which are in the key themselves:
# a stopped run may go on with another test set, less cache or a moved data folder. The type of the
# cache is not among them: it rounds what the steps read.
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
    "train": ("cache_mb", "spill_mb", "strategy"),
}


def open_checkpoints(
    job: Job, config: RunConfig, *, strategy: tf.distribute.Strategy
) -> Checkpoints:
    """Opens the checkpoints of a run, before it writes anything.

    Args:
        job: the input of the run.
        config: the settings.
        strategy: says whether this process writes them, and whether others do the same phases.

    Raises:
        KgraftError: those in the work folder are of another run.
        KgraftError: there is no phase that `--phases` asks for, or one that it goes on from is
            missing.
    """
    checkpoints = Checkpoints(
        pathlib.Path(config.workdir, CHECKPOINTS),
        _depends(job, config),
        writes=is_chief(strategy),
        cluster=has_several_workers(strategy),
    )
    check_ready(job.phases, phases_asked(job, config), checkpoints)
    return checkpoints


def phases_asked(job: Job, config: RunConfig) -> tuple[str, ...] | None:
    """Returns the names of the phases that `--phases` asks for; None for the whole run.

    Raises:
        KgraftError: there is no such phase.
    """
    return choose_phases(config.phases, [phase.name for phase in job.phases])


def phases_left(job: Job, config: RunConfig, checkpoints: Checkpoints) -> tuple[str, ...]:
    """Returns the names of the phases that were asked for and are not finished."""
    asked = phases_asked(job, config)
    names = [phase.name for phase in job.phases] if asked is None else asked
    return tuple(name for name in names if not checkpoints.finished(name))


def what_training_needs(job: Job, config: RunConfig, checkpoints: Checkpoints) -> Job:
    """Returns a job for the banks: itself, or with few views where nothing is left to train.

    A third stage that makes views of its own needs the held-out ones alone.
    """
    later = config.phases == ALL and compression_left(config, checkpoints)
    same = later and not config.compress.compress_views
    if not checkpoints.has_start() or phases_left(job, config, checkpoints) or same:
        return job
    transfer = job.transfer
    # Of all images: the first ones are often of one class.
    spread = np.linspace(0, len(transfer.heldout) - 1, min(_FEW, len(transfer.heldout)))
    heldout = transfer.heldout if later else transfer.heldout[spread.astype(int)]
    few = dataclasses.replace(transfer, views=transfer.views[:_FEW], heldout=heldout, mixed=0)
    return dataclasses.replace(job, transfer=few)


def start_student(
    job: Job,
    config: RunConfig,
    bank: ViewBank,
    *,
    checkpoints: Checkpoints,
    watch: Stopwatch,
) -> tuple[StudentBlock, ...]:
    """Makes the student blocks with the weights before the first phase, the same for all runs.

    Args:
        job: the input of the run.
        config: the settings.
        bank: the training views.
        checkpoints: where these weights are kept; those of the first run to save them count.
        watch: times the parts.

    Raises:
        KgraftError: a user's student does not fit the teacher.
    """
    # Others that start at the same time wait here and then find the weights.
    with checkpoints.lock(START, wait=lambda: tell(_STARTING)):
        views = _FEW if checkpoints.has_start() else None
        student = make_blocks(job, config, bank, watch, views=views)
        settle_start(student, checkpoints)
    return student


def train_student(
    job: Job,
    student: tuple[StudentBlock, ...],
    config: RunConfig,
    *,
    banks: Banks,
    strategy: tf.distribute.Strategy,
    checkpoints: Checkpoints,
    watch: Stopwatch,
) -> tuple[PhaseResult, ...]:
    """Trains the phases; those that another run finished are taken from its checkpoints.

    Args:
        job: the input of the run.
        student: the student blocks, changed in place.
        config: the settings.
        banks: training and held-out views, and the copies of the teacher to train with.
        strategy: the strategy the student was made under.
        checkpoints: where finished phases are kept.
        watch: times the part.

    Returns:
        What each phase did; of some phases only, those that are finished.

    Raises:
        KgraftError: training diverged.
    """
    chief = is_chief(strategy)
    board = TensorBoardLog(pathlib.Path(config.workdir, TENSORBOARD))
    listeners: list[OnProgress] = [ProgressLine(job.phases), board] if chief else []
    replicas = strategy.num_replicas_in_sync
    count = len(phases_left(job, config, checkpoints))
    compiling: list[float] = []
    with watch.part("training", f"training {count} phases on {replicas} replica(s)"):
        compute = banks.compute
        tell(f"computing in {compute.dtype} ({compute.note})")
        try:
            return run_schedule(
                job.phases,
                student=student,
                checkpoints=checkpoints,
                only=phases_asked(job, config),
                tell=tell,
                on_trained=lambda result: compiling.append(result.compile_seconds),
                chain=compute.chain,
                bank=banks.train,
                heldout=banks.heldout,
                loss=make_loss(config.train.loss, temperature=config.train.temperature),
                feature_weight=config.train.feature_weight,
                strategy=strategy,
                seed=config.data.seed,
                select=config.train.select,
                dtype=compute.dtype,
                fake_quant=config.train.fake_quant,
                xla=config.train.xla,
                on_progress=tell_all(*listeners),
            )
        finally:
            board.close()
            watch.split_off("compiling", sum(compiling), of="training")


def _depends(job: Job, config: RunConfig) -> dict[str, Any]:
    """What the weights of a run depend on: settings, images and the networks it was given."""
    settings = config.to_dict()
    depends = {
        part: {k: v for k, v in settings[part].items() if k not in _FREE.get(part, ())}
        for part in ("teacher", "student", "data", "train")
    }
    # A number and an `auto` that came to it are one setting.
    depends["data"]["mixed_views"] = job.transfer.mixed
    views = hashlib.sha256()
    for pixels in (job.transfer.views, job.transfer.heldout):
        views.update(np.ascontiguousarray(pixels).data)
    hashes = {
        "views_sha256": views.hexdigest(),
        "teacher_sha256": graph_sha256(job.chain.graph),
    }
    return {**depends, **hashes, **own_sha256(job)}
