"""Exports a student in every format asked for: guards first, then convert, then one folder."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from kgraft.compress import QuantizedStudent
from kgraft.config import DEFAULT_FORMATS, ONNX
from kgraft.errors import KgraftError
from kgraft.export import guards
from kgraft.export.bias_correction import CORRECTED, corrected_students
from kgraft.export.convert import (
    CALIBRATED,
    float32_bytes,
    model_bytes,
    quantized_bytes,
    tflite_bytes,
    write_saved_model,
)
from kgraft.export.edge_quantizer import RECIPES, edge_quantized
from kgraft.export.extras import check_extras
from kgraft.export.metadata import label_lines, with_metadata
from kgraft.export.names import FILE_NAMES, LABELS_NAME, SAVED_MODEL, TFLITE
from kgraft.export.onnx_file import onnx_bytes
from kgraft.export.package import write_preprocess, write_sums
from kgraft.export.records import DeviceInput, ExportedFile
from kgraft.export.write import made_aside, size_on_disk


def export_student(
    model: keras.Model,
    *,
    folder: str | Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    calibration: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    takes: DeviceInput | None = None,
    quantized: QuantizedStudent | None = None,
) -> tuple[ExportedFile, ...]:
    """Writes a student for the device, as one folder that is whole or not there.

    Every export has one signature, `image` `[1, height, width, channels]` to `logits`
    `[1, classes]`, and takes the same preprocessed images as the Keras model, unless `takes` says
    otherwise. Input and output of the full-integer files are integers with the scale and zero point
    that the file holds. The folder gets `preprocess.json`, `labels.txt` where labels are known,
    and `SHA256SUMS`; the `.tflite` files hold the labels too, as TFLite Metadata.

    Args:
        model: functional student, `[batch, height, width, channels]` to `[batch, classes]`; it is
            copied, not changed.
        folder: where the exports go; an older export there is replaced as a whole.
        formats: any of `kgraft.config.FORMATS`.
        calibration: float32 `[n, height, width, channels]`, as the files take them; needed for
            `int8`, `int16x8` and `aeq_int8`, and to fix a size that the model leaves open. Files
            whose kernels are rounded have their biases corrected by them.
        labels: class names in the order of the logits; None where they are not known.
        takes: what the files take; None for one preprocessed image of the right size.
        quantized: the student trained with int8 emulated, for `int8_qat`.

    Returns:
        What was written, in the order of `formats`.

    Raises:
        KgraftError: a format is unknown or given twice.
        KgraftError: the model is not one image to one vector of logits, or its size is open.
        KgraftError: a format needs a compressed student, and this one is not.
        KgraftError: a format needs a package of an extra, which is not installed.
        KgraftError: the calibration images are missing, not finite or of another shape.
        KgraftError: the labels do not match the logits.
        KgraftError: the model has an op that the device's built-in ops do not cover.
        KgraftError: the folder holds other things than exports, or cannot be written to.
    """
    folder, takes = Path(folder).absolute(), takes or DeviceInput()
    guards.check_formats(formats)
    shape = guards.image_shape(model, calibration)
    for name in formats:
        if name in CALIBRATED or (name in CORRECTED and calibration is not None):
            guards.check_calibration(name, calibration)
    guards.check_compressed(formats, model, quantized, takes)
    check_extras(formats)
    guards.check_labels(labels, model.outputs[0].shape[-1])
    guards.check_folder(folder)
    guards.make_parent(folder)
    with made_aside(folder) as aside:
        if set(formats) - {ONNX}:
            write_saved_model(model, aside / SAVED_MODEL, shape, takes)
        corrected = corrected_students(model, formats, calibration, takes)

        def tflite(name: str) -> bytes:
            if name == "int8_qat" and quantized is not None:
                return quantized_bytes(quantized, shape, takes)
            if name in RECIPES:
                float32 = float32_bytes(corrected.get(name, model), shape, takes)
                return edge_quantized(float32, name, calibration)
            with _advice(model, name):
                if name in corrected:
                    return model_bytes(corrected[name], name, shape, takes, calibration)
                return tflite_bytes(aside / SAVED_MODEL, name, calibration)

        for name in (name for name in formats if name in TFLITE):
            data = with_metadata(tflite(name), shape, takes, labels)
            (aside / FILE_NAMES[name]).write_bytes(data)
        if ONNX in formats:
            with _advice(model, ONNX):
                (aside / FILE_NAMES[ONNX]).write_bytes(onnx_bytes(model, shape, takes))
        if SAVED_MODEL not in formats:
            shutil.rmtree(aside / SAVED_MODEL, ignore_errors=True)
        if labels is not None:
            (aside / LABELS_NAME).write_bytes(label_lines(labels))
        files = {FILE_NAMES[n]: aside / FILE_NAMES[n] for n in formats if n in TFLITE}
        write_preprocess(aside, shape, takes, labels=labels is not None, files=files)
        write_sums(aside)
    return tuple(_exported(folder, name) for name in formats)


@contextlib.contextmanager
def _advice(model: keras.Model, name: str) -> Iterator[None]:
    try:
        yield
    except KgraftError as error:
        raise KgraftError(f"{model.name} {error}; leave {name} out of --formats") from error


def _exported(folder: Path, name: str) -> ExportedFile:
    path = folder / FILE_NAMES[name]
    return ExportedFile(name=path.name, format=name, path=str(path), bytes=size_on_disk(path))
