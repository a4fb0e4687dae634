"""What a student says of images, and how far it agrees with its teacher."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.grafting.bank import ViewBank
from kgraft.grafting.losses import Loss
from kgraft.grafting.span import Student, student_function


def student_logits(
    student: Student, images: np.ndarray, *, preprocess: str = "none", batch: int = 64
) -> np.ndarray:
    """Runs the whole student, adapters included.

    Args:
        student: one block for each of the teacher's.
        images: pixels 0..255, `[n, height, width, channels]`.
        preprocess: name of what turns pixels into the teacher's input.
        batch: images per run.

    Returns:
        Float32 logits `[n, classes]`.

    Raises:
        KgraftError: there are no images.
    """
    return batched_logits(student_function(student, preprocess), images, batch=batch)


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


def heldout_loss(student: Student, heldout: ViewBank, *, loss: Loss, batch: int = 64) -> float:
    """Returns the mean loss of the whole student on held-out views, without a feature term.

    Args:
        student: one block for each of the teacher's.
        heldout: views that were never trained on.
        loss: loss on logits, `[batch, classes]` twice to `[batch]`.
        batch: views per run.
    """
    logits = student_logits(student, heldout.views, preprocess=heldout.preprocess, batch=batch)
    return float(np.mean(loss(tf.constant(logits), tf.constant(heldout.logits))))
