"""The graft schedule carried out for a job."""

import pathlib

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

# Settings that no weight depends on: a stopped run may go on with another test set.
_REPORT_ONLY = ("eval_dataset", "eval_split", "eval_data_dir", "labels")


def train_student(
    job: Job,
    student: tuple[StudentBlock, ...],
    config: RunConfig,
    *,
    banks: tuple[ViewBank, ViewBank],
    strategy: tf.distribute.Strategy,
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
        workdir: where checkpoints and TensorBoard scalars go.
        watch: times the part.

    Returns:
        What each phase did.

    Raises:
        KgraftError: training diverged, or the checkpoints are of another run.
    """
    chief = is_chief(strategy)
    settings = config.to_dict()
    depends = {part: settings[part] for part in ("teacher", "student", "data", "train")}
    depends["data"] = {k: v for k, v in settings["data"].items() if k not in _REPORT_ONLY}
    checkpoints = Checkpoints(workdir / "checkpoints", depends, writes=chief)
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
