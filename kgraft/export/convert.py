"""Keras student to SavedModel, SavedModel to TFLite bytes: every format comes from one graph."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgraft.compress import QuantizedStudent
from kgraft.data.preprocess import preprocess
from kgraft.errors import KgraftError
from kgraft.export.guards import Shape, image_shape
from kgraft.export.names import INPUT_NAME, OUTPUT_NAME, SIGNATURE
from kgraft.export.quiet import quiet_stderr
from kgraft.export.records import DeviceInput
from kgraft.zoo import float32_copy

CALIBRATION_IMAGES = 256
# Formats whose ranges come from images.
CALIBRATED = ("int8", "int16x8", "aeq_int8")
# No tensor of these is floating-point.
INTEGER = (*CALIBRATED, "int8_qat")


def float32_bytes(
    model: keras.Model, shape: Shape | None = None, takes: DeviceInput | None = None
) -> bytes:
    """Converts a model to a float32 TFLite file of its own.

    Teacher and student are both measured through this, so that their bytes and milliseconds come
    from the same runtime.

    Args:
        model: functional classifier, `[batch, height, width, channels]` to `[batch, classes]`.
        shape: `(height, width, channels)` of the one image; None for the model's own.
        takes: what the file takes; None for one image as the model takes it.

    Returns:
        The file.

    Raises:
        KgraftError: the model leaves its image shape open and `shape` is None.
        KgraftError: the model has an op that TFLite's built-in ops do not cover.
    """
    try:
        return model_bytes(model, "float32", shape or image_shape(model), takes)
    except KgraftError as error:
        raise KgraftError(f"{model.name} {error}") from error


def model_bytes(
    model: keras.Model,
    name: str,
    shape: Shape,
    takes: DeviceInput | None = None,
    calibration: np.ndarray | None = None,
) -> bytes:
    """Converts a model to a TFLite file of its own, as `tflite_bytes` does a SavedModel.

    Args:
        model: functional classifier, `[batch, height, width, channels]` to `[batch, classes]`.
        name: the format.
        shape: `(height, width, channels)` of the one image.
        takes: what the file takes; None for one image as the model takes it.
        calibration: `[n, height, width, channels]`, as the file takes them; for `CALIBRATED`.

    Returns:
        The file.

    Raises:
        KgraftError: the model has an op that TFLite's built-in ops do not cover.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(model, Path(folder), shape, takes)
        return tflite_bytes(Path(folder), name, calibration)


def write_saved_model(
    model: keras.Model, folder: Path, shape: Shape, takes: DeviceInput | None = None
) -> None:
    """Writes a SavedModel whose `serving_default` takes `image` and gives `logits`.

    `keras.Model.export` would do it too, but stores every weight twice and takes twice as long.

    Args:
        model: functional classifier, `[batch, height, width, channels]` to `[batch, classes]`; it
            is copied, not changed.
        folder: a new or empty folder.
        shape: `(height, width, channels)` of an image.
        takes: what is done inside and how many images it takes; None for nothing and one.
    """
    # Float32, because a model trained in bfloat16 has casts that TFLite lacks; and a copy, because
    # the variables of a distribution strategy do not save as plain ones.
    copy = float32_copy(model)
    _save(copy, [variable.value for variable in copy.variables], folder, shape=shape, takes=takes)


def quantized_bytes(
    student: QuantizedStudent, shape: Shape, takes: DeviceInput | None = None
) -> bytes:
    """Converts a student that was trained with int8 emulated to a full-integer `.tflite` file.

    Its ranges are those that it was trained with; no image takes part.

    Args:
        student: the student.
        shape: `(height, width, channels)` of an image.
        takes: how many images the file takes; None for one.

    Returns:
        The file.

    Raises:
        KgraftError: the converter refuses it.
    """
    with tempfile.TemporaryDirectory() as folder:
        variables = list(student.model.variables)
        _save(student.model, variables, Path(folder), shape=shape, takes=takes)
        return tflite_bytes(Path(folder), "int8_qat")


def _save(
    model: Any, variables: list[Any], folder: Path, *, shape: Shape, takes: DeviceInput | None
) -> None:
    module = tf.Module()
    module.weights = variables
    module.serve, _ = _serving(model, shape, takes or DeviceInput())
    with quiet_stderr():
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})


def serving(
    model: keras.Model, shape: Shape, takes: DeviceInput
) -> tuple[Any, list[tf.TensorSpec]]:
    """Makes the function that the files hold, `image` to a dict of `logits`.

    Args:
        model: functional classifier, `[batch, height, width, channels]` to `[batch, classes]`; it
            is copied, not changed.
        shape: `(height, width, channels)` of an image.
        takes: what is done inside and how many images it takes.

    Returns:
        A `tf.function` and its signature.
    """
    return _serving(float32_copy(model), shape, takes)


def _serving(model: Any, shape: Shape, takes: DeviceInput) -> tuple[Any, list[tf.TensorSpec]]:
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT_NAME: model(preprocess(image, takes.in_file), training=False)}

    batch = None if takes.dynamic_batch else 1
    signature = [tf.TensorSpec((batch, *shape), tf.float32, name=INPUT_NAME)]
    return tf.function(serve, input_signature=signature), signature


def tflite_bytes(saved_model: Path, name: str, calibration: np.ndarray | None = None) -> bytes:
    """Converts a SavedModel to a `.tflite` file of built-in ops only.

    `float32` has float32 weights and arithmetic. `float16` has float16 weights and float32 input
    and output, at half the size. `dynamic` has int8 weights, a quarter of the size, and float32
    input and output; its activations are quantised while it runs, from their own ranges. `int8`
    has int8 weights, activations, input and output, for devices without floating point; it holds
    the scale and zero point of its input and output, `int8 = round(value / scale) + zero_point`,
    and at most `CALIBRATION_IMAGES` images, spread evenly over those given, fix its ranges.
    `int16x8` is the same with int16 activations, input and output. `int8_qat` is `int8` of a model
    that emulates it and has its ranges. `sparse` is `float32`, its kernels that have many zeros
    stored without them.

    Args:
        saved_model: folder that `write_saved_model` wrote.
        name: any of `kgraft.config.FORMATS` but `saved_model` and `onnx`.
        calibration: `[n, height, width, channels]`, as the model takes them; for `CALIBRATED`.

    Returns:
        The file, with the SavedModel's signature.

    Raises:
        KgraftError: the model has an op that the built-in ops of the format do not cover.
    """
    try:
        with quiet_stderr():
            converter = tf.lite.TFLiteConverter.from_saved_model(
                str(saved_model), signature_keys=[SIGNATURE]
            )
            _SETTINGS[name](converter, calibration)
            return converter.convert()
    except Exception as error:  # the converter's own error class is not public
        raise KgraftError(f"does not convert to TFLite {name}: {_reason(error)}") from error


def _set_float32(converter: Any, _: np.ndarray | None) -> None:
    # Built-in ops only: with SELECT_TF_OPS an op that no phone can run converts without a word.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]


def _set_float16(converter: Any, _: np.ndarray | None) -> None:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.target_spec.supported_types = [tf.float16]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _set_int8(converter: Any, calibration: np.ndarray | None) -> None:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _feed(calibration)
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8


def _set_dynamic(converter: Any, _: np.ndarray | None) -> None:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _set_int16x8(converter: Any, calibration: np.ndarray | None) -> None:
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _feed(calibration)
    converter.inference_input_type = tf.int16
    converter.inference_output_type = tf.int16


def _set_sparse(converter: Any, _: np.ndarray | None) -> None:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]


def _set_int8_qat(converter: Any, _: np.ndarray | None) -> None:
    # Ranges come with the model; without images the converter wants the float ops named too.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8


_SETTINGS: dict[str, Callable[[Any, np.ndarray | None], None]] = {
    "float32": _set_float32,
    "float16": _set_float16,
    "dynamic": _set_dynamic,
    "int8": _set_int8,
    "int16x8": _set_int16x8,
    "sparse": _set_sparse,
    "int8_qat": _set_int8_qat,
}


def _feed(images: np.ndarray) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    chosen = spread(images, CALIBRATION_IMAGES)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for image in chosen:
            yield {INPUT_NAME: np.asarray(image[None], np.float32)}

    return batches


def spread(images: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` images, spread evenly over those given."""
    return images[np.linspace(0, len(images) - 1, min(len(images), count)).round().astype(int)]


def _reason(error: Exception) -> str:
    text = str(error)
    ops = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", text)))
    if ops:
        return f"there is no built-in op for {', '.join(ops)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
