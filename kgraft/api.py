"""`distill`: the whole arrow from teacher and images to exports and report."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from kgraft.config import RunConfig
from kgraft.data import write_transfer_list
from kgraft.export import check_verified
from kgraft.grafting import fuse, is_chief, make_strategy
from kgraft.phases import ALL
from kgraft.pipeline.compression import check_compression, compress_student
from kgraft.pipeline.delivery import deliver, make_report
from kgraft.pipeline.given import given_config
from kgraft.pipeline.job import fill_banks, open_job
from kgraft.pipeline.keras_settings import usual_keras_settings
from kgraft.pipeline.parallel import train_side_by_side
from kgraft.pipeline.sizes import tell_of_size
from kgraft.pipeline.stopwatch import Stopwatch, tell
from kgraft.pipeline.targets import warn_of_targets
from kgraft.pipeline.training import (
    open_checkpoints,
    start_student,
    train_student,
    what_training_needs,
)
from kgraft.pipeline.transfer import without_pixels
from kgraft.pipeline.workdir import (
    TRANSFER,
    check_workdir,
    start_workdir,
    tell_of_nothing_to_resume,
)
from kgraft.report import RunReport, format_table, write_report
from kgraft.students import check_recipes

_WAITING = "waiting for another run that writes the results"


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


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """What a run of some phases (`phases`) gives back; another run goes on from there.

    Attributes:
        phases: every phase of the graft schedule by name, and whether it is finished.
        workdir: the folder that the runs share.
    """

    phases: Mapping[str, bool]
    workdir: pathlib.Path


def distill(
    config: RunConfig | None = None, *, teacher_model: keras.Model | None = None, **flags: Any
) -> Result | Unfinished | None:
    """Shrinks a trained Keras model with a few unlabelled images.

    Args:
        config: all settings of the run. Without one, the settings are the flags of
            `kgraft-distill` as keywords: `distill(teacher="model.keras",
            dataset="folder:images", shots=10, workdir="run")`.
        teacher_model: a loaded functional model that takes the place of the `teacher` setting; it
            is not changed.
        **flags: settings by flag name, where there is no `config`.

    Returns:
        The student, the report and where everything was written. With `phases` given, what is
        finished and what is left. None on the workers of a cluster other than its chief, which
        alone writes.

    Raises:
        KgraftError: the input cannot be worked with, training diverged, or an exported file failed
            its verification (the report is written all the same).
    """
    settings = given_config(config, flags, RunConfig.from_flags, teacher_model=teacher_model)
    return run(settings, Stopwatch(), teacher_model)


@usual_keras_settings()
def run(
    config: RunConfig, watch: Stopwatch, teacher_model: keras.Model | None = None
) -> Result | Unfinished | None:
    """Does what `distill` does, by a clock that runs already.

    Args:
        config: all settings of the run.
        watch: times the parts.
        teacher_model: as in `distill`.

    Returns:
        What `distill` gives back.

    Raises:
        KgraftError: as in `distill`.
    """
    workdir = pathlib.Path(config.workdir)
    with_others = config.phases != ALL
    resume = train_side_by_side(config, watch, model=teacher_model) or config.resume
    strategy = make_strategy(config.train.strategy)
    chief = is_chief(strategy)
    if chief:
        check_workdir(workdir, resume=resume, shared=with_others)
        if config.resume:
            tell_of_nothing_to_resume(workdir)
    with strategy.scope():
        job = open_job(config, watch, teacher_model)
        checkpoints = open_checkpoints(job, config, strategy=strategy)
    check_recipes(job.chain, job.recipes)
    if chief:
        # Outside the scope: other workers make no such variables, and would wait for them.
        check_compression(job, config)
        start_workdir(workdir)
        checkpoints.claim()
        write_transfer_list(job.transfer.images, workdir / TRANSFER)
        warn_of_targets(job, config, watch)
    with strategy.scope():
        job = dataclasses.replace(job, transfer=without_pixels(job.transfer))
        banks = fill_banks(what_training_needs(job, config, checkpoints), config, watch)
    try:
        with strategy.scope():
            student = start_student(job, config, banks.train, checkpoints=checkpoints, watch=watch)
        if chief:
            # Outside the scope, as the variables of the compression above.
            tell_of_size(job, student)
        results = train_student(
            job,
            student,
            config,
            banks=banks,
            strategy=strategy,
            checkpoints=checkpoints,
            watch=watch,
        )
    finally:
        # Most of the memory, which nothing after training reads, and the file of --spill_mb.
        for bank in (banks.train, banks.heldout):
            bank.close()
    if not chief:
        return None
    if with_others:
        return Unfinished({p.name: bool(checkpoints.finished(p.name)) for p in job.phases}, workdir)
    with checkpoints.lock("results", wait=functools.partial(tell, _WAITING)):
        fused = fuse(student)
        compressed = compress_student(
            job, fused, config, banks=banks, checkpoints=checkpoints, watch=watch
        )
        delivery = deliver(job, fused, compressed, config, workdir=workdir, watch=watch)
        report = make_report(job, delivery, config, student=student, results=results, watch=watch)
        write_report(report, workdir)
    check_verified(report.verification)
    return Result(delivery.model, report, format_table(report.models), workdir)
