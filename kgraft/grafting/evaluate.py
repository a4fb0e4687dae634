"""What a network says of images, and how far two agree."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kgraft.errors import KgraftError


def batched_logits(
    run: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray, *, batch: int = 64
) -> np.ndarray:
    """Runs a function of images batch by batch.

    Args:
        run: images `[batch, height, width, channels]` to logits `[batch, classes]`.
        images: `[n, height, width, channels]`.
        batch: images per run.

    Returns:
        Float32 logits `[n, classes]`.

    Raises:
        KgraftError: there are no images.
    """
    if not len(images):
        raise KgraftError("logits need at least one image; got none")
    parts = (images[first : first + batch] for first in range(0, len(images), batch))
    return np.concatenate([np.asarray(run(tf.constant(part)), np.float32) for part in parts])


def agreement(student: np.ndarray, teacher: np.ndarray) -> float:
    """Returns how often two networks name the same class.

    Args:
        student: logits `[n, classes]`.
        teacher: logits `[n, classes]`.

    Returns:
        A share, 0..1.

    Raises:
        KgraftError: the shapes differ, or there are no rows.
    """
    if student.shape != teacher.shape or not len(student):
        raise KgraftError(
            "agreement needs logits of one shape, at least one row; "
            f"got {student.shape} and {teacher.shape}"
        )
    return float(np.mean(student.argmax(-1) == teacher.argmax(-1)))
