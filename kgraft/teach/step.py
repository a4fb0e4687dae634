"""One update of a teacher's weights, and the gathering of its test accuracy."""

import dataclasses
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Learner:
    """A model and what trains it.

    Attributes:
        model: pixels 0..255 to logits.
        optimizer: built for the model's trainable variables.
        step: `(images, labels, rate) -> (loss, accuracy)`, one update.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    step: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_learner(
    model: keras.Model,
    *,
    momentum: float,
    weight_decay: float,
    label_smoothing: float,
    scale_loss: bool,
) -> Learner:
    """Prepares a model for training with SGD and Nesterov momentum.

    Args:
        model: pixels 0..255 to logits; its weights are changed by the steps.
        momentum: Nesterov momentum.
        weight_decay: factor of each kernel that is added to its gradient.
        label_smoothing: share of each target spread evenly over the classes.
        scale_loss: whether the loss is scaled up for float16 gradients.
    """
    optimizer = keras.optimizers.SGD(0.0, momentum=momentum, nesterov=True)
    if scale_loss:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    variables = model.trainable_variables
    optimizer.build(variables)
    decayed = [weight_decay if variable.name == "kernel" else 0.0 for variable in variables]

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits = tf.cast(model(tf.cast(images, tf.float32), training=True), tf.float32)
            loss = tf.reduce_mean(smoothed_cross_entropy(logits, labels, smoothing=label_smoothing))
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        # The decay joins the gradient at the loss's scale, for the optimiser divides both by it.
        factor = optimizer.scale_loss(tf.ones([]))
        gradients = [
            gradient + factor * decay * variable.value if decay else gradient
            for gradient, variable, decay in zip(gradients, variables, decayed, strict=True)
        ]
        optimizer.apply(gradients, variables)
        hits = tf.equal(tf.argmax(logits, -1), labels)
        return loss, tf.reduce_mean(tf.cast(hits, tf.float32))

    return Learner(model, optimizer, step)


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, *, smoothing: float) -> tf.Tensor:
    """Cross entropy against targets of which a share is spread evenly over the classes.

    Args:
        logits: float32 `[batch, classes]`.
        labels: int64 `[batch]`.
        smoothing: the share, in 0..1.

    Returns:
        float32 `[batch]`, nats per example.

    Raises:
        ValueError: the shapes do not match.
    """
    if logits.shape.rank != 2 or labels.shape.rank != 1:
        raise ValueError(
            f"expected logits [batch, classes] and labels [batch]; got {logits.shape} and "
            f"{labels.shape}"
        )
    log_probabilities = tf.nn.log_softmax(logits)
    chosen = tf.gather(log_probabilities, labels, batch_dims=1)
    return -(1 - smoothing) * chosen - smoothing * tf.reduce_mean(log_probabilities, -1)


def accuracy(model: keras.Model, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Returns the part of images whose largest logit is at their label; None for no images.

    Args:
        model: pixels 0..255 to logits.
        batches: `(images, labels)`: `[batch, height, width, channels]` and int64 `[batch]`.
    """

    @tf.function(reduce_retracing=True)
    def predict(images: tf.Tensor) -> tf.Tensor:
        return tf.argmax(model(tf.cast(images, tf.float32), training=False), -1)

    hits = images_seen = 0
    for images, labels in batches:
        hits += int(np.sum(predict(tf.constant(images)).numpy() == labels))
        images_seen += len(labels)
    return hits / images_seen if images_seen else None
