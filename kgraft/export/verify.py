"""Holds every exported file against the Keras student, in the runtime that will run it."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.export.convert import INPUT_NAME, OUTPUT_NAME, SIGNATURE, one_to_one
from kgraft.export.flatbuffer import TFLiteContents, read_contents
from kgraft.export.quiet import quiet_stderr
from kgraft.export.records import ExportedFile, Verification
from kgraft.export.runner import TFLiteRunner, load_interpreter

# Largest difference of a logit as a share of the student's largest logit.
TOLERANCES = {"saved_model": 1e-4, "float32": 1e-4, "float16": 2e-2, "int8": 0.25}

_NO_CONTENTS = TFLiteContents(ops={}, custom_ops=(), static=True, float_tensors=0)
# Layer by layer every activation of a batch is held to the end: 64 photographs were 1.5 GB.
_BATCH = 8


def verify_exports(
    files: Sequence[ExportedFile], model: keras.Model, images: np.ndarray, *, threads: int = 1
) -> tuple[Verification, ...]:
    """Compares each exported file with the Keras student on the same images.

    Args:
        files: what `export_student` wrote.
        model: the Keras student, `[batch, height, width, channels]` to logits `[batch, classes]`.
        images: `[n, height, width, channels]`, preprocessed as the student expects.
        threads: how many images run side by side.

    Returns:
        One verification per file, in order; a file that cannot be used is not `ok` and says why.

    Raises:
        KgraftError: there is no image to compare on.
    """
    expected = keras_logits(model, images)
    return tuple(_verify(file, expected, images, threads) for file in files)


def verify_tflite(
    path: str | Path,
    model: keras.Model,
    images: np.ndarray,
    *,
    tolerance: float,
    integer: bool = False,
    threads: int = 1,
) -> Verification:
    """Compares one `.tflite` file with the Keras student, in LiteRT.

    Args:
        path: the file.
        model: the Keras student.
        images: `[n, height, width, channels]`, preprocessed as the student expects.
        tolerance: largest difference of a logit, as a share of the student's largest logit.
        integer: whether the file must be without any floating-point tensor.
        threads: how many images run side by side.

    Returns:
        The comparison; `ok` is False, with `why`, where the file does not run, has ops that are not
        built in, leaves a shape open, is not integer though it must be, or differs too much.

    Raises:
        KgraftError: there is no image to compare on.
    """
    expected = keras_logits(model, images)
    return _verify_tflite(Path(path), expected, images, tolerance, integer=integer, threads=threads)


def verify_saved_model(
    path: str | Path, model: keras.Model, images: np.ndarray, *, tolerance: float
) -> Verification:
    """Loads a SavedModel back and compares its `serving_default` with the Keras student.

    Args:
        path: the SavedModel's folder.
        model: the Keras student.
        images: `[n, height, width, channels]`, preprocessed as the student expects.
        tolerance: largest difference of a logit, as a share of the student's largest logit.

    Returns:
        The comparison; `ok` is False, with `why`, where it does not load or differs too much.

    Raises:
        KgraftError: there is no image to compare on.
    """
    return _verify_saved_model(Path(path), keras_logits(model, images), images, tolerance)


def check_verified(verifications: Sequence[Verification]) -> None:
    """Ends a run whose files are not all usable; called after the report is written.

    Args:
        verifications: of all exported files.

    Raises:
        KgraftError: at least one is not ok; names each with its reason.
    """
    failed = [f"{found.name}: {found.why}" for found in verifications if not found.ok]
    if failed:
        raise KgraftError("exported files failed their verification: " + "; ".join(failed))


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


def _verify(
    file: ExportedFile, expected: np.ndarray, images: np.ndarray, threads: int
) -> Verification:
    path, tolerance = Path(file.path), TOLERANCES[file.format]
    if file.format == "saved_model":
        return _verify_saved_model(path, expected, images, tolerance)
    integer = file.format == "int8"
    return _verify_tflite(path, expected, images, tolerance, integer=integer, threads=threads)


def _verify_tflite(
    path: Path,
    expected: np.ndarray,
    images: np.ndarray,
    tolerance: float,
    *,
    integer: bool,
    threads: int,
) -> Verification:
    contents, found = _NO_CONTENTS, None
    try:
        load_interpreter(path)  # the check that makes reading the contents safe
        contents = read_contents(path.read_bytes())
        faults = _faults(contents, integer)
        if not contents.custom_ops:
            found = TFLiteRunner(path, threads)(images)
    except KgraftError as error:
        faults = [str(error)]
    return _judge(path.name, expected, found, contents, tolerance, faults=faults)


def _verify_saved_model(
    path: Path, expected: np.ndarray, images: np.ndarray, tolerance: float
) -> Verification:
    try:
        with quiet_stderr():
            loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures[SIGNATURE]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        faults = [f"does not load: {reason}"]
        return _judge(path.name, expected, None, _NO_CONTENTS, tolerance, faults=faults)
    found = [
        serve(**{INPUT_NAME: tf.constant(image[None], tf.float32)})[OUTPUT_NAME].numpy()
        for image in images
    ]
    return _judge(path.name, expected, np.concatenate(found), _NO_CONTENTS, tolerance, faults=[])


def _faults(contents: TFLiteContents, integer: bool) -> list[str]:
    faults = []
    if contents.custom_ops:
        faults.append(f"has ops that are not built in: {', '.join(contents.custom_ops)}")
    if not contents.static:
        faults.append("leaves a tensor's shape open")
    if integer and contents.float_tensors:
        faults.append(f"is not full-integer: {contents.float_tensors} tensors are float")
    return faults


def _judge(
    name: str,
    expected: np.ndarray,
    found: np.ndarray | None,
    contents: TFLiteContents,
    tolerance: float,
    *,
    faults: list[str],
) -> Verification:
    largest, mean, agreement = None, None, None
    scale = float(np.abs(expected).max())
    if found is not None:
        difference = np.abs(found.astype(np.float64) - expected)
        largest, mean = float(difference.max()), float(difference.mean())
        agreement = float((found.argmax(1) == expected.argmax(1)).mean())
        # Written so that a NaN fails; the last term lets all-zero logits pass.
        if not largest <= tolerance * scale + 1e-7:
            faults = [
                *faults,
                f"differs by {largest:.3g} from logits up to {scale:.3g}, "
                f"more than {tolerance:g} of them",
            ]
    return Verification(
        name=name,
        max_abs_difference=largest,
        mean_abs_difference=mean,
        largest_logit=scale,
        tolerance=tolerance,
        agreement=agreement,
        images=len(expected),
        ops=contents.ops,
        static=contents.static,
        builtin_only=not contents.custom_ops,
        ok=not faults,
        why=", ".join(faults),
    )
