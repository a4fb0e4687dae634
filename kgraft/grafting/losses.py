"""Distillation losses: pure functions of student and teacher tensors, one value per example."""

import functools
from collections.abc import Callable

import tensorflow as tf

from kgraft.errors import KgraftError

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# An example whose activation is next to nothing counts as one of this share of the others' size:
# an error relative to nothing would be all that the weights follow.
_LEAST_SHARE = 1e-3
# Keeps the relative error finite where all of them are zero.
_TINY = 1e-12


def _check_same_shape(student: tf.Tensor, teacher: tf.Tensor) -> None:
    if not student.shape.is_compatible_with(teacher.shape):
        raise KgraftError(
            f"a loss compares tensors of one shape; the student's is {tuple(student.shape)}, "
            f"the teacher's {tuple(teacher.shape)}"
        )


def normalized_mse(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Squared distance of the L2-normalised logits, `sum((s/|s| - t/|t|)^2)` (the paper's loss).

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.

    Returns:
        One value per example, `[batch]`, between 0 and 4.

    Raises:
        KgraftError: the shapes differ.
    """
    _check_same_shape(student, teacher)
    difference = tf.math.l2_normalize(student, -1) - tf.math.l2_normalize(teacher, -1)
    return tf.reduce_sum(tf.square(difference), -1)


def mse(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of the logits.

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.

    Returns:
        One value per example, `[batch]`.

    Raises:
        KgraftError: the shapes differ.
    """
    _check_same_shape(student, teacher)
    return tf.reduce_mean(tf.square(student - teacher), -1)


def kl(student: tf.Tensor, teacher: tf.Tensor, *, temperature: float = 1.0) -> tf.Tensor:
    """Kullback-Leibler divergence of the softened class probabilities, times `temperature ** 2`.

    The factor keeps the size of the gradients independent of the temperature (Hinton et al. 2015).

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        temperature: what the logits are divided by.

    Returns:
        One value per example, `[batch]`.

    Raises:
        KgraftError: the shapes differ.
    """
    _check_same_shape(student, teacher)
    log_student = tf.nn.log_softmax(student / temperature, -1)
    log_teacher = tf.nn.log_softmax(teacher / temperature, -1)
    divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), -1)
    return divergence * temperature**2


def feature_mse(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Squared error of the activations relative to the teacher's own size.

    Per example `mean((s - t)^2) / mean(t^2)`: 0 for equal activations, 1 for a student that says
    nothing, whatever the scale of the layer, so that one weight fits every cut. An example whose
    teacher is almost silent counts by a thousandth of the mean size of the batch.

    Args:
        student: activations `[batch, ...]`.
        teacher: activations `[batch, ...]`.

    Returns:
        One value per example, `[batch]`.

    Raises:
        KgraftError: the shapes differ.
    """
    _check_same_shape(student, teacher)
    axes = list(range(1, student.shape.rank))
    error = tf.reduce_mean(tf.square(student - teacher), axes)
    size = tf.reduce_mean(tf.square(teacher), axes)
    return error / (tf.maximum(size, _LEAST_SHARE * tf.reduce_mean(size)) + _TINY)


LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "normalized_mse": normalized_mse,
    "mse": mse,
    "kl": kl,
}


def make_loss(name: str, *, temperature: float = 1.0) -> Loss:
    """Returns the logit loss of that name.

    Args:
        name: one of `LOSSES`.
        temperature: softmax temperature; only `kl` has one.

    Returns:
        A function of student and teacher logits, both `[batch, classes]`, to `[batch]`.

    Raises:
        KgraftError: there is no such loss.
    """
    if name not in LOSSES:
        raise KgraftError(f"--loss must be one of {', '.join(LOSSES)}; got {name!r}")
    if name == "kl":
        return functools.partial(kl, temperature=temperature)
    return LOSSES[name]
