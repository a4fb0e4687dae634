"""Exports a student in every format asked for: guards first, then convert, then write."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from kgraft.config import FORMATS
from kgraft.errors import KgraftError
from kgraft.export import guards
from kgraft.export.convert import tflite_bytes, write_saved_model
from kgraft.export.records import ExportedFile
from kgraft.export.write import move_folder, size_on_disk, write_file

FILE_NAMES = {
    "saved_model": "saved_model",
    "float32": "student_float32.tflite",
    "float16": "student_float16.tflite",
    "int8": "student_int8.tflite",
}
LABELS_NAME = "labels.txt"


def export_student(
    model: keras.Model,
    *,
    folder: str | Path,
    formats: Sequence[str] = FORMATS,
    calibration: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
) -> tuple[ExportedFile, ...]:
    """Writes a student for the device.

    Every export has one static signature, `image` `[1, height, width, channels]` to `logits`
    `[1, classes]`, and takes the same preprocessed images as the Keras model. The int8 file's input
    and output are int8 with the scale and zero point it holds.

    Args:
        model: functional student, `[batch, height, width, channels]` to `[batch, classes]`; it is
            copied, not changed.
        folder: where the exports go; made where it is missing.
        formats: any of `saved_model`, `float32`, `float16`, `int8`.
        calibration: float32 `[n, height, width, channels]`, preprocessed; needed for `int8` and to
            fix a size that the model leaves open.
        labels: class names in the order of the logits, written to `labels.txt`; None for no file.

    Returns:
        What was written, in the order of `formats`; `labels.txt` is not among them.

    Raises:
        KgraftError: a format is unknown or given twice.
        KgraftError: the model is not one image to one vector of logits, or its size is open.
        KgraftError: the calibration images are missing, not finite or of another shape.
        KgraftError: the labels do not match the logits.
        KgraftError: the model has an op that the device's built-in ops do not cover.
        KgraftError: the folder cannot be written to.
    """
    folder = Path(folder)
    guards.check_formats(formats)
    shape = guards.image_shape(model, calibration)
    if "int8" in formats:
        guards.check_calibration(calibration)
    guards.check_labels(labels, model.outputs[0].shape[-1])
    guards.check_folder(folder)
    with _scratch_folder(folder) as scratch:
        # All conversions come before the first write: a model that fails one leaves nothing behind.
        write_saved_model(model, scratch, shape)
        converted = {
            name: _convert(model, scratch, name, calibration)
            for name in formats
            if name != "saved_model"
        }
        for name, data in converted.items():
            write_file(folder / FILE_NAMES[name], data)
        if "saved_model" in formats:
            move_folder(scratch, folder / FILE_NAMES["saved_model"])
    if labels is not None:
        write_file(folder / LABELS_NAME, "".join(f"{label}\n" for label in labels).encode())
    return tuple(_exported(folder, name) for name in formats)


@contextlib.contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    # Beside the exports, not in /tmp, so that the finished SavedModel can be renamed into place.
    scratch = folder / ".export.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        yield scratch
    except OSError as error:
        raise KgraftError(f"cannot write exports to {folder}: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert(
    model: keras.Model, saved_model: Path, name: str, calibration: np.ndarray | None
) -> bytes:
    try:
        return tflite_bytes(saved_model, name, calibration)
    except KgraftError as error:
        raise KgraftError(f"{model.name} {error}; leave {name} out of --formats") from error


def _exported(folder: Path, name: str) -> ExportedFile:
    path = folder / FILE_NAMES[name]
    return ExportedFile(name=path.name, format=name, path=str(path), bytes=size_on_disk(path))
