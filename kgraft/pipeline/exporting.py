"""A student written in every format and held against itself, in a run or after it."""

import pathlib
from collections.abc import Callable

import keras
import numpy as np

from kgraft.compress import QuantizedStudent
from kgraft.config import ExportConfig
from kgraft.data.preprocess import preprocess
from kgraft.export import (
    EXPORTS,
    SIDE_BY_SIDE,
    DeviceInput,
    ExportedFile,
    Verification,
    export_student,
    verify_exports,
)
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.transfer import Transfer

# Enough for ranges and differences to settle; each image is one run at batch 1.
_CALIBRATION_IMAGES = 256
_VERIFIED_IMAGES = 256


def device_input(config: ExportConfig, preprocessing: str, resize: str) -> DeviceInput:
    """Says what the files of a run take.

    Args:
        config: the export settings.
        preprocessing: name of what turns pixels into the teacher's input.
        resize: how the run fits images to the teacher's size.
    """
    return DeviceInput(
        preprocess=preprocessing,
        inside=config.preprocess_inside,
        resize=resize,
        dynamic_batch=config.dynamic_batch,
    )


def export_verified(
    model: keras.Model,
    transfer: Transfer,
    config: ExportConfig,
    *,
    takes: DeviceInput,
    names: tuple[str, ...] | None,
    folder: pathlib.Path,
    watch: Stopwatch,
    quantized: QuantizedStudent | None = None,
    on_written: Callable[[], None] = lambda: None,
) -> tuple[tuple[ExportedFile, ...], tuple[Verification, ...]]:
    """Writes a student in every format and verifies each file.

    Args:
        model: the fused student.
        transfer: plain views of transfer images for the ranges, held-out views for the comparison.
        config: the export settings.
        takes: what the files take.
        names: names of the logits, or None.
        folder: the export folder, replaced as a whole.
        watch: times the parts.
        quantized: the student trained with int8 emulated, for `int8_qat`.
        on_written: called when the folder has been replaced and no file is verified yet.

    Returns:
        The files and what was found of each.

    Raises:
        KgraftError: a format cannot be written.
    """
    plain = transfer.views[: transfer.plain]
    calibration = _inputs(plain, _CALIBRATION_IMAGES, takes.before_file)
    with watch.part("export", f"exporting {', '.join(config.formats) or 'nothing'}"):
        files = export_student(
            model,
            folder=folder,
            formats=config.formats,
            calibration=calibration,
            labels=names,
            takes=takes,
            quantized=quantized,
        )
        on_written()
    with watch.part("verification", f"verifying {len(files)} exported files"):
        verifications = verify_exports(
            files,
            model,
            _inputs(transfer.heldout, _VERIFIED_IMAGES, takes.preprocess),
            takes=takes,
            given=_inputs(transfer.heldout, _VERIFIED_IMAGES, takes.before_file),
            min_agreement=config.min_agreement,
            calibration=calibration,
            quantized=quantized,
            threads=SIDE_BY_SIDE,
        )
    return files, verifications


def export_folder(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the export folder of a work folder."""
    return workdir / EXPORTS


def _inputs(views: np.ndarray, count: int, preprocessing: str) -> np.ndarray:
    """Preprocessed views, evenly spread over all transfer images."""
    rows = np.linspace(0, len(views) - 1, min(count, len(views))).astype(int)
    return np.asarray(preprocess(views[rows], preprocessing), "float32")
