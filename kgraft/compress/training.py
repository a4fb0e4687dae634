"""A Keras 2 model trained to say what the teacher says of the views."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kgraft.compress.features import Features, with_outputs
from kgraft.data.preprocess import preprocess
from kgraft.grafting.bank import ViewBank
from kgraft.grafting.batches import Batches
from kgraft.grafting.evaluate import agreement, batched_logits
from kgraft.grafting.fuse import Remaining
from kgraft.grafting.loop import Pace, PhaseLoop
from kgraft.grafting.losses import Loss, feature_mse
from kgraft.grafting.progress import OnProgress, Progress
from kgraft.grafting.schedule import Phase
from kgraft.grafting.step import make_optimizer
from kgraft.grafting.trainer import PhaseResult, keep, phase_result, training_order

# From images and the teacher's logits to the losses of each example, of logits and of features.
_Objective = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor | float]]


@dataclasses.dataclass(frozen=True, eq=False)
class Wrapped:
    """A Keras 2 model as a technique wraps it for training.

    Attributes:
        model: image to logits.
        layers: names of the layers whose kernels the technique changes.
        left: layers with kernels that it does not.
        strip: takes the wrappers off a trained model and returns a plain one.
        begin: called once before training, with the training views and the seed.
        after_update: called at the end of each compiled update.
        settled: after how many updates weights may be kept.
        frozen: names of layers that are not trained.
    """

    model: Any
    layers: tuple[str, ...]
    left: tuple[Remaining, ...]
    strip: Callable[[], Any]
    begin: Callable[[ViewBank, int], None] = lambda bank, seed: None
    after_update: Callable[[], None] = lambda: None
    settled: int = 0
    frozen: tuple[str, ...] = ()

    @property
    def state(self) -> list[Any]:
        """All variables, masks and ranges included."""
        return list(self.model.variables)

    @property
    def trainable(self) -> list[Any]:
        """The variables that are trained."""
        held = {
            id(variable)
            for layer in self.model.layers
            if getattr(getattr(layer, "layer", layer), "name", "") in self.frozen
            for variable in layer.trainable_weights
        }
        return [v for v in self.model.trainable_weights if id(v) not in held]

    def restore(self, arrays: list[np.ndarray]) -> None:
        """Puts back the values of `state`."""
        for variable, value in zip(self.state, arrays, strict=True):
            variable.assign(value)


def train_wrapped(
    wrapped: Wrapped,
    phase: Phase,
    *,
    bank: ViewBank,
    heldout: ViewBank,
    loss: Loss,
    seed: int,
    features: Features | None = None,
    select: str = "heldout",
    on_progress: OnProgress | None = None,
) -> PhaseResult:
    """Trains a wrapped model on the teacher's logits; no label takes part.

    Args:
        wrapped: the model, changed in place.
        phase: name, steps, rate, batch and optimiser.
        bank: the training views, with what the teacher says of them.
        heldout: views that are measured and never trained on.
        loss: loss on logits, `[batch, classes]` twice to `[batch]`.
        seed: seed of the training order, and of what the technique draws.
        features: activations that are held to those of the student before; None for none. What is
            told, and chosen by, are the losses on logits alone.
        select: `heldout` keeps the weights of the lowest held-out loss out of the measurements
            from `wrapped.settled` updates on, `last` those of the last step.
        on_progress: called before anything is done, about once a second and at every measurement.

    Returns:
        Losses, agreement and time.

    Raises:
        KgraftError: a loss is not finite; phase and step are named.
    """
    began = time.monotonic()
    if on_progress:
        # What comes before the first update may take minutes.
        on_progress(Progress(phase, 0, np.empty(0, np.float32)))
    wrapped.begin(bank, seed)
    losses: list[float] = []
    loop = PhaseLoop(
        phase,
        trainer=_Updates(wrapped, phase, bank, loss, features),
        meter=_Measures(wrapped.model, heldout, loss),
        variables=wrapped.state,
        pace=Pace(),
        on_progress=on_progress,
    )
    order = training_order(phase, len(bank), steps=phase.steps, replicas=1, seed=seed)
    measurements = loop.measurements(order, losses)
    start, kept = keep(measurements, select, settled=wrapped.settled)
    wrapped.restore(kept.weights)
    return dataclasses.replace(
        phase_result(phase, losses, start, kept),
        seconds=time.monotonic() - began,
        compile_seconds=loop.compile_seconds,
    )


class _Updates:
    """The compiled updates of one phase."""

    trains = True

    def __init__(
        self,
        wrapped: Wrapped,
        phase: Phase,
        bank: ViewBank,
        loss: Loss,
        features: Features | None,
    ) -> None:
        self._bank = bank
        # Keras 3's: TensorFlow's variables are all that the two Keras have in common.
        variables, optimizer = wrapped.trainable, make_optimizer(phase, phase.block_rate)
        optimizer.build(variables)
        objective = _objective(wrapped.model, loss, features)

        def update(views: tf.Tensor, target: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            images = preprocess(views, bank.preprocess)
            with tf.GradientTape() as tape:
                logit_losses, feature_losses = objective(images, target)
                value = tf.reduce_sum(weights * (logit_losses + feature_losses))
            # What a wrapper computes anew before each use has no gradient.
            gradients = tape.gradient(
                value, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            optimizer.apply(gradients, variables)
            wrapped.after_update()
            return tf.reduce_sum(weights * logit_losses)

        self._update = tf.function(update, autograph=False)

    def __call__(self, batches: Batches) -> np.ndarray:
        losses = []
        for rows, weights in zip(batches.rows, batches.weights, strict=True):
            views, target = self._bank.views[rows], self._bank.logits[rows]
            losses.append(self._update(views, target, weights))
        return np.array([value.numpy() for value in losses], np.float32)


def _objective(model: Any, loss: Loss, features: Features | None) -> _Objective:
    """The losses of each example in a training call, of logits and of features."""
    if features is None:
        return lambda images, target: (loss(model(images, training=True), target), 0.0)
    told = with_outputs(model, features.names)

    def losses(images: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        *wanted, _ = features.reference(images, training=False)
        *made, logits = told(images, training=True)
        terms = [
            feature_mse(*pair) for pair in zip(made, map(tf.stop_gradient, wanted), strict=True)
        ]
        return loss(logits, target), features.weight * tf.add_n(terms) / len(terms)

    return losses


class _Measures:
    """Held-out loss and agreement of a model."""

    def __init__(self, model: Any, heldout: ViewBank, loss: Loss) -> None:
        self.compile_seconds = 0.0
        self._heldout, self._loss = heldout, loss
        self._run = tf.function(
            lambda views: model(preprocess(views, heldout.preprocess), training=False),
            input_signature=[tf.TensorSpec([None, *heldout.views.shape[1:]], heldout.views.dtype)],
            autograph=False,
        )

    def __call__(self) -> tuple[float, float]:
        logits = batched_logits(self._run, self._heldout.views)
        target = self._heldout.logits
        losses = self._loss(tf.constant(logits), tf.constant(target))
        return float(np.mean(losses)), agreement(logits, target)
