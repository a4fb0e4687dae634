"""Holds every exported file against the Keras student, in the runtime that will run it."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgraft.compress import QuantizedStudent
from kgraft.config import ONNX
from kgraft.errors import KgraftError, one_line
from kgraft.export.bias_correction import corrected_students
from kgraft.export.convert import INTEGER, float32_bytes
from kgraft.export.flatbuffer import TFLiteContents, read_contents
from kgraft.export.judge import Demands, Reference, check_together, judge
from kgraft.export.layers import Layers
from kgraft.export.names import INPUT_NAME, OUTPUT_NAME, SAVED_MODEL, SIGNATURE, TFLITE
from kgraft.export.onnx_file import verify_onnx
from kgraft.export.quiet import quiet_stderr
from kgraft.export.records import DeviceInput, ExportedFile, LayerNoise, Verification
from kgraft.export.runner import TFLiteRunner, load_interpreter
from kgraft.zoo import one_to_one

# Largest difference of a logit as a share of the student's largest logit.
TOLERANCES = {
    "saved_model": 1e-4,
    "float32": 1e-4,
    "float16": 2e-2,
    "dynamic": 0.25,
    "int8": 0.25,
    "int16x8": 0.25,
    "sparse": 1e-4,
    "int8_qat": 0.25,
    "aeq_int8": 0.25,
    "aeq_int4": 0.5,
    "aeq_mixed": 0.5,
    ONNX: 1e-4,
}
# Formats whose layers make noise of their own.
QUANTIZED = ("dynamic", *INTEGER, "aeq_int4", "aeq_mixed")

# What TensorFlow raises of a SavedModel that is not whole or takes something else.
_FAILURES = (OSError, KeyError, TypeError, ValueError, tf.errors.OpError)
_NO_CONTENTS = TFLiteContents(ops={}, custom_ops=(), static=True, open_batch=True, float_tensors=0)
# Layer by layer every activation of a batch is held to the end: 64 photographs were 1.5 GB.
_BATCH = 8
# Images whose every activation is compared.
_LAYER_IMAGES = 8


def verify_exports(
    files: Sequence[ExportedFile],
    model: keras.Model,
    images: np.ndarray,
    *,
    takes: DeviceInput | None = None,
    given: np.ndarray | None = None,
    min_agreement: float | None = None,
    calibration: np.ndarray | None = None,
    quantized: QuantizedStudent | None = None,
    threads: int = 1,
) -> tuple[Verification, ...]:
    """Compares each exported file with the Keras student on the same images.

    Args:
        files: what `export_student` wrote.
        model: the Keras student, `[batch, height, width, channels]` to logits `[batch, classes]`.
        images: `[n, height, width, channels]`, preprocessed as the student expects.
        takes: what the files take; None for what `export_student` takes None for.
        given: the same images as the files take them, where that is something else.
        min_agreement: share of images, 0..1, on which a file must name the student's class.
        calibration: the images that `export_student` was given, if it was; biases of files whose
            kernels are rounded are compared with those corrected by them.
        quantized: the student trained with int8 emulated. An `int8_qat` file answers for the Keras
            student like every other, but its layers are held against its own weights.
        threads: how many images run side by side.

    Returns:
        One verification per file, in order; a file that cannot be used is not `ok` and says why.

    Raises:
        KgraftError: there is no image to compare on.
        KgraftError: the student does not convert to float32, which layers are compared with.
    """
    takes, given = takes or DeviceInput(), images if given is None else given
    logits = keras_logits(model, images)
    shape = given.shape[1:]
    formats = [file.format for file in files if file.format in TFLITE]
    # Several formats are rounded from one student.
    float32 = functools.cache(lambda student: float32_bytes(student, shape, takes))
    own = {"int8_qat": quantized.floats} if quantized else {}
    corrected = corrected_students(model, formats, calibration, takes)
    found = []
    for file in files:
        reference = Reference(logits, given)
        if file.format in TFLITE:
            layers = own.get(file.format, model)
            weights = corrected.get(file.format, layers)
            reference = Reference(logits, given, float32(layers), float32(weights))
        demands = Demands(
            TOLERANCES[file.format],
            integer=file.format in INTEGER,
            noise=file.format in QUANTIZED,
            dynamic_batch=takes.dynamic_batch,
            min_agreement=min_agreement,
        )
        verify = _VERIFIERS.get(file.format, verify_tflite)
        found.append(verify(file.path, reference, demands, threads=threads))
    return tuple(found)


def verify_tflite(
    path: str | Path, reference: Reference, demands: Demands, *, threads: int = 1
) -> Verification:
    """Compares one `.tflite` file with the Keras student, in LiteRT.

    Args:
        path: the file.
        reference: the student's answers.
        demands: what the file must keep to.
        threads: how many images run side by side.

    Returns:
        The comparison; `ok` is False, with `why`, where the file does not run, has ops that are not
        built in, leaves a shape open, is not integer though it must be, holds other weights than
        the student, or differs or disagrees too much.
    """
    path, contents, found = Path(path), _NO_CONTENTS, None
    layers: tuple[LayerNoise, ...] = ()
    faults: list[str] = []
    try:
        load_interpreter(path)  # the check that makes reading the contents safe
        data = path.read_bytes()
        contents = read_contents(data)
        faults = _faults(contents, demands)
        if not contents.custom_ops:
            runner = TFLiteRunner(path, threads)
            found = runner(reference.given)
            layers = _layers(data, reference, demands, faults)
            if demands.dynamic_batch:
                check_together(runner, reference, demands)
    except KgraftError as error:
        faults.append(str(error))
    judged = judge(path.name, reference, found, demands, faults=faults)
    return dataclasses.replace(
        judged,
        ops=contents.ops,
        static=contents.static,
        builtin_only=not contents.custom_ops,
        layers=layers,
    )


def verify_saved_model(
    path: str | Path, reference: Reference, demands: Demands, *, threads: int = 1
) -> Verification:
    """Loads a SavedModel back and compares its `serving_default` with the Keras student.

    Args:
        path: the SavedModel's folder.
        reference: the student's answers.
        demands: what it must keep to.
        threads: not used; TensorFlow has its own.

    Returns:
        The comparison; `ok` is False, with `why`, where it does not load or differs too much.
    """
    name = Path(path).name
    try:
        with quiet_stderr():
            loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures[SIGNATURE]
    except _FAILURES as error:
        return judge(name, reference, None, demands, faults=[f"does not load: {one_line(error)}"])
    served, faults = _Served(serve), list[str]()
    try:
        found = np.concatenate([served.together(image[None]) for image in reference.given])
        if demands.dynamic_batch:
            check_together(served, reference, demands)
    except KgraftError as error:
        faults.append(str(error))
    except _FAILURES as error:
        return judge(name, reference, None, demands, faults=[f"does not run: {one_line(error)}"])
    judged = judge(name, reference, found, demands, faults=faults)
    return dataclasses.replace(judged, static=served.static)


class _Served:
    """The signature of a SavedModel."""

    def __init__(self, serve: Any) -> None:
        self._serve = serve
        _, takes = serve.structured_input_signature
        self.static = takes[INPUT_NAME].shape.is_fully_defined()

    def together(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of some images, run as one batch."""
        given = tf.constant(images, tf.float32)
        return np.asarray(self._serve(**{INPUT_NAME: given})[OUTPUT_NAME])


_VERIFIERS = {SAVED_MODEL: verify_saved_model, ONNX: verify_onnx}


def keras_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Runs the Keras student on some images.

    Args:
        model: the Keras student.
        images: `[n, height, width, channels]`, preprocessed as the student expects.

    Returns:
        Float32 logits `[n, classes]`.

    Raises:
        KgraftError: there are no images.
    """
    if len(images) == 0:
        raise KgraftError("verifying an export needs at least one image; got none")
    plain = one_to_one(model)
    parts = [
        keras.ops.convert_to_numpy(plain(images[i : i + _BATCH], training=False))
        for i in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts).astype(np.float32)


def _faults(contents: TFLiteContents, demands: Demands) -> list[str]:
    faults = []
    if contents.custom_ops:
        faults.append(f"has ops that are not built in: {', '.join(contents.custom_ops)}")
    if not contents.static and not (demands.dynamic_batch and contents.open_batch):
        faults.append("leaves a tensor's shape open")
    if demands.integer and contents.float_tensors:
        faults.append(f"is not full-integer: {contents.float_tensors} tensors are float")
    return faults


def _layers(
    data: bytes, reference: Reference, demands: Demands, faults: list[str]
) -> tuple[LayerNoise, ...]:
    """Compares layers; weights that are not the student's are added to the faults."""
    if reference.float32 is None:
        return ()
    layers = Layers(data, reference.float32)
    weights = reference.weights or reference.float32
    held = layers if weights is reference.float32 else Layers(data, weights)
    wrong = held.wrong_weights()
    if wrong:
        faults.append(
            f"holds other weights than the student in {len(wrong)} layers, most in "
            f"{short_name(wrong[0].name)}: {wrong[0].off:.3g} times what rounding explains"
        )
    unpaired = held.unpaired()
    if unpaired:
        faults.append(
            f"has {len(unpaired)} layers with weights that cannot be compared with the student's, "
            f"the first {short_name(unpaired[0])}"
        )
    if not demands.noise:
        return ()
    spread = np.linspace(0, len(reference.given) - 1, _LAYER_IMAGES).astype(int)
    return layers.noise(reference.given[np.unique(spread)])


def short_name(tensor: str) -> str:
    """Returns the part of a tensor's name that says which layer made it.

    Args:
        tensor: such as `student_1/conv2_1/convolution;student_1/conv2_1/Squeeze`.
    """
    return tensor.split(";")[-1]
