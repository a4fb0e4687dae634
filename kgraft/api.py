"""`distill`: the whole arrow from teacher and images to exports and report."""

import dataclasses
import pathlib
from typing import Any

import keras

from kgraft.config import RunConfig
from kgraft.data import write_transfer_list
from kgraft.errors import KgraftError
from kgraft.export import check_verified
from kgraft.grafting import fuse, is_chief, make_strategy
from kgraft.pipeline.delivery import deliver, make_report
from kgraft.pipeline.job import fill_banks, make_blocks, open_job
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.training import open_checkpoints, train_student
from kgraft.pipeline.workdir import check_workdir, start_workdir
from kgraft.report import RunReport, format_table, write_report


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives back.

    Attributes:
        student: the fused student, preprocessed images `[batch, height, width, channels]` to
            logits `[batch, classes]`.
        report: all that was measured, as in `report.json`.
        table: the report's table, ready to print.
        workdir: the folder with everything written.
    """

    student: keras.Model
    report: RunReport
    table: str
    workdir: pathlib.Path


def distill(
    config: RunConfig | None = None, *, teacher_model: keras.Model | None = None, **flags: Any
) -> Result | None:
    """Shrinks a trained Keras model with a few unlabelled images.

    Args:
        config: all settings of the run. Without one, the settings are the flags of
            `kgraft-distill` as keywords: `distill(teacher="model.keras",
            dataset="folder:images", shots=10, workdir="run")`.
        teacher_model: a loaded functional model that takes the place of the `teacher` setting; it
            is not changed.
        **flags: settings by flag name, where there is no `config`.

    Returns:
        The student, the report and where everything was written; None on the workers of a cluster
        other than its chief, which alone writes.

    Raises:
        KgraftError: the input cannot be worked with, training diverged, or an exported file failed
            its verification (the report is written all the same).
    """
    if config is not None and flags:
        raise KgraftError(
            f"give a config or settings by name, not both; got {', '.join(flags)} too"
        )
    if config is None:
        if teacher_model is not None:
            flags.setdefault("teacher", teacher_model.name)
        config = RunConfig.from_flags(**flags)
    watch = Stopwatch()
    strategy = make_strategy(config.train.strategy)
    chief = is_chief(strategy)
    workdir = pathlib.Path(config.workdir)
    if chief:
        check_workdir(workdir, resume=config.resume)
    with strategy.scope():
        job = open_job(config, watch, teacher_model)
        checkpoints = open_checkpoints(job, config, workdir, writes=chief)
        if chief:
            start_workdir(workdir)
            write_transfer_list(job.transfer.images, workdir / "transfer.json")
        banks = fill_banks(job, config, watch)
        student = make_blocks(job, config, banks[0], watch)
    results = train_student(
        job,
        student,
        config,
        banks=banks,
        strategy=strategy,
        checkpoints=checkpoints,
        workdir=workdir,
        watch=watch,
    )
    if not chief:
        return None
    delivery = deliver(job, fuse(student), config, workdir=workdir, watch=watch)
    report = make_report(job, delivery, config, student=student, results=results, watch=watch)
    write_report(report, workdir)
    check_verified(delivery.verifications)
    return Result(delivery.model, report, format_table(report.models), workdir)
