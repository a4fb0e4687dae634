"""Targets for size and speed, held against an untrained student of the same shape."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from kgraft.config import ExportConfig, RunConfig
from kgraft.data.preprocess import preprocess
from kgraft.export import TFLITE, export_student, measure_latencies
from kgraft.grafting import fuse
from kgraft.graph import as_model
from kgraft.pipeline.exporting import device_input
from kgraft.pipeline.job import Job
from kgraft.pipeline.stopwatch import Stopwatch, tell
from kgraft.students import Start, make_student

# Ranges do not matter here: bytes and milliseconds are the same for any.
_CALIBRATION_IMAGES = 8
_NO_FILE = (
    "warning: no file is held against --target_bytes and --target_latency_ms: a SavedModel, an "
    "ONNX file and sparse, whose zeros come with training, are not; add another format, such as "
    "float32, to --formats"
)


def warn_of_targets(job: Job, config: RunConfig, watch: Stopwatch) -> None:
    """Says before training whether the student can meet the targets, where there are some.

    A student of the same shape with random weights is exported and timed: bytes and milliseconds
    do not depend on what weights say.

    Args:
        job: the input of the run.
        config: the settings.
        watch: times the part.

    Raises:
        KgraftError: the student cannot be made or exported.
    """
    if config.export.target_bytes is None and config.export.target_latency_ms is None:
        return
    if not _formats(config.export):
        tell(_NO_FILE)
        return
    with watch.part("targets", "holding an untrained student against the targets"):
        found = _figures(job, config)
    for line in target_lines(found, config.export):
        tell(line)


def target_lines(found: Mapping[str, tuple[int, float]], config: ExportConfig) -> tuple[str, ...]:
    """Says which files meet the targets, or that none does.

    Args:
        found: bytes and milliseconds by file name.
        config: the targets.

    Returns:
        Lines to tell the user; the first begins with `warning` where no file meets the targets.
    """
    asked = {
        "--target_bytes": config.target_bytes,
        "--target_latency_ms": config.target_latency_ms,
    }
    wanted = " and ".join(f"{flag}={value:,}" for flag, value in asked.items() if value is not None)
    figures = {name: f"{name}: {size:,} bytes, {ms:.3g} ms" for name, (size, ms) in found.items()}
    meeting = [
        figures[name]
        for name, measured in found.items()
        if all(v is None or m <= v for m, v in zip(measured, asked.values(), strict=True))
    ]
    if meeting:
        return (f"{wanted} will be met, as far as this machine at one thread tells, by", *meeting)
    sparse = "sparse" in config.formats
    but = " (sparse, whose zeros come with training, not counted)" if sparse else ""
    return (
        f"warning: no file of this student{but} will meet {wanted} on this machine at one thread; "
        "give a smaller --student, more blocks to --graft, or other --formats",
        *figures.values(),
    )


def _formats(config: ExportConfig) -> list[str]:
    # An untrained student has neither zeros nor ranges; int8 comes to the same as int8_qat.
    named = ["int8" if name == "int8_qat" else name for name in config.formats]
    return [name for name in dict.fromkeys(named) if name in TFLITE and name != "sparse"]


def untrained_student(job: Job, seed: int) -> keras.Model:
    """Makes the fused student of a job with random weights.

    Args:
        job: the input of the run.
        seed: of the weights.

    Raises:
        KgraftError: a recipe cannot be applied to its block.
    """

    def nothing(position: int, count: int) -> np.ndarray:
        raise AssertionError("random weights read no activations")

    student = make_student(job.chain, job.recipes, Start("random", nothing, seed), own=job.own)
    model = as_model(fuse(student).graph, name="student")
    # Biases of zeros alone would be stored once for all layers.
    random = np.random.default_rng(seed)
    model.set_weights([_noisy(weight, random) for weight in model.weights])
    return model


def _noisy(weight: keras.Variable, random: np.random.Generator) -> np.ndarray:
    values = np.asarray(weight) + random.normal(0, 1e-3, weight.shape)
    return np.abs(values) if weight.name == "moving_variance" else values


def _figures(job: Job, config: RunConfig) -> dict[str, tuple[int, float]]:
    model = untrained_student(job, config.data.seed)
    takes = device_input(config.export, job.teacher.preprocess, job.transfer.resize)
    views = job.transfer.views[:_CALIBRATION_IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        files = export_student(
            model,
            folder=Path(folder, "export"),
            formats=_formats(config.export),
            calibration=np.asarray(preprocess(views, takes.before_file), "float32"),
            labels=job.names,
            takes=takes,
        )
        times = measure_latencies({file.name: file.path for file in files})
    return {file.name: (file.bytes, times[file.name]) for file in files}
