"""The third grafting stage in a run, and read back from a finished one."""

import pathlib

import keras

from kgraft.compress import (
    Compressed,
    QuantizedStudent,
    check_compressible,
    checkpoint_names,
    compress,
    compress_phases,
    restore_quantized,
)
from kgraft.compress_config import CompressConfig
from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.export import check_extras
from kgraft.grafting import (
    Checkpoints,
    FusedStudent,
    ProgressLine,
    TensorBoardLog,
    ViewBank,
    tell_all,
)
from kgraft.grafting.checkpoints import read_arrays
from kgraft.graph import as_model
from kgraft.pipeline.job import Banks, Job
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.targets import untrained_student
from kgraft.pipeline.transfer import fresh_views
from kgraft.pipeline.workdir import CHECKPOINTS, TENSORBOARD


def check_compression(job: Job, config: RunConfig) -> None:
    """Checks before anything is written that the student can be compressed and exported as asked.

    Args:
        job: the input of the run.
        config: the settings.

    Raises:
        KgraftError: a layer of the student cannot be compressed; the message names it.
        KgraftError: a technique would leave every kernel of the student as it is.
        KgraftError: `--preprocess_inside` and `int8_qat` are both asked for.
        KgraftError: a format needs a package of an extra, which is not installed.
    """
    export = config.export
    check_extras(export.formats)
    if not config.compress.techniques:
        return
    inside = export.preprocess_inside and job.teacher.preprocess != "none"
    if inside and "int8_qat" in export.formats:
        raise KgraftError(
            "--formats=int8_qat takes what the student is trained on, images preprocessed by "
            f"{job.teacher.preprocess}: leave out --preprocess_inside, or int8_qat"
        )
    check_compressible(untrained_student(job, config.data.seed), config.compress)


def compression_left(config: RunConfig, checkpoints: Checkpoints) -> bool:
    """Returns whether the third stage has something to train."""
    names = checkpoint_names(config.compress)
    return any(checkpoints.finished(name) is None for name in names)


def compress_student(
    job: Job,
    fused: FusedStudent,
    config: RunConfig,
    *,
    banks: Banks,
    checkpoints: Checkpoints,
    watch: Stopwatch,
) -> Compressed:
    """Compresses the fused student, or takes what is finished from the checkpoints.

    Args:
        job: the input of the run.
        fused: the fused student.
        config: the settings.
        banks: views, and what the teacher says of them; they may be closed.
        checkpoints: where each technique's result is kept.
        watch: times the part.

    Raises:
        KgraftError: a layer cannot be compressed, or training diverged.
    """
    model = as_model(fused.graph, name="student")
    blocks = len(job.chain.blocks)
    phases = compress_phases(config.compress, config.train, blocks)
    if not phases:
        return Compressed(model)
    board = TensorBoardLog(pathlib.Path(config.workdir, TENSORBOARD))
    bank = _bank(job, config, banks, checkpoints=checkpoints, watch=watch)
    with watch.part("compression", f"compressing the student: {config.compress.compress}"):
        try:
            return compress(
                model,
                config.compress,
                config.train,
                bank=bank,
                heldout=banks.heldout,
                blocks=blocks,
                seed=config.data.seed,
                checkpoints=checkpoints,
                on_progress=tell_all(ProgressLine(phases), board),
            )
        finally:
            board.close()


def _bank(
    job: Job, config: RunConfig, banks: Banks, *, checkpoints: Checkpoints, watch: Stopwatch
) -> ViewBank:
    """The views to learn from: those of the other stages, or fresh ones where they were asked for.

    A student that has learned its views by heart learns little more from them.
    """
    count = config.compress.compress_views
    if not count or not compression_left(config, checkpoints):
        return banks.train
    with watch.part("fresh views", f"making {count} fresh views of each transfer image"):
        views = fresh_views(config.data, job.chain.graph, count)
        return ViewBank(views, chain=banks.compute.chain, preprocess=job.teacher.preprocess)


def read_quantized(
    model: keras.Model, config: CompressConfig, workdir: pathlib.Path
) -> QuantizedStudent:
    """Reads the student that a finished run trained with int8 emulated.

    Args:
        model: the student that the run left.
        config: what the run did.
        workdir: its work folder.

    Raises:
        KgraftError: the run has none, or it cannot be read.
    """
    config.check_formats(("int8_qat",))
    if not (workdir / CHECKPOINTS).is_dir():
        raise KgraftError(
            f"--formats=int8_qat is made of what training has learned of int8, which the run's "
            f"{CHECKPOINTS}/ has, and {workdir} has none: leave int8_qat out"
        )
    name = checkpoint_names(config)[-1]
    return restore_quantized(model, config, read_arrays(workdir / CHECKPOINTS, name))
