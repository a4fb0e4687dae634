"""Gradient training of a whole student, for methods that know no graft."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgraft.comparison.told import Told
from kgraft.errors import KgraftError
from kgraft.grafting.batches import shuffled_batches
from kgraft.grafting.rows import Source, gather_rows

# What updates gather rows of, and the rows of one update.
Data = Mapping[str, Source]
Rows = dict[str, tf.Tensor]
# Losses per example, `[batch]`, of rows of the data.
Loss = Callable[[Rows], tf.Tensor]

# First part of the entropy of the order, so that it shares no stream with draw and views.
_ORDER = 21
_UPDATES_PER_CALL = 20
_ADAM_EPSILON = 1e-8


@dataclasses.dataclass(frozen=True)
class FitPlan:
    """How a student is trained.

    Attributes:
        name: what is trained, for messages and for the order of the views.
        updates: how many.
        batch: views per update.
        rate: learning rate at the start.
        optimizer: `adam` or `sgd` (momentum 0.9).
        decay: the rate over time: `cosine`, `constant`, or `steps` (a tenth after every 40 % of
            the updates).
        weight_decay: L2 penalty on all weights that train.
    """

    name: str
    updates: int
    batch: int
    rate: float
    optimizer: str = "adam"
    decay: str = "cosine"
    weight_decay: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Returns the plan as plain values for the cell's record."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "name"}


def fit(
    loss: Loss, variables: Sequence[Any], data: Data, *, plan: FitPlan, seed: int
) -> np.ndarray:
    """Trains variables to make the mean loss of each batch smaller.

    Args:
        loss: losses per example of some rows of `data`, in training mode.
        variables: Keras variables; others do not change, statistics of BatchNorms apart.
        data: what batches are gathered from, all of as many rows as there are views.
        plan: how.
        seed: seed of the order in which views are read.

    Returns:
        The loss before each update, float32 `[updates]`.

    Raises:
        KgraftError: a loss is not finite; the update is named.
    """
    views = _count(data)
    entropy = (seed, _ORDER, zlib.crc32(plan.name.encode()))
    batches = shuffled_batches(
        views, batch=plan.batch, steps=plan.updates, replicas=1, seed=entropy
    )
    run = _compiled(loss, list(variables), data, plan)
    losses: list[np.ndarray] = []
    told = Told(plan.name, plan.updates)
    for first in range(0, plan.updates, _UPDATES_PER_CALL):
        part = batches[first : first + _UPDATES_PER_CALL]
        found = run(tf.constant(part.rows), tf.constant(part.weights)).numpy()
        _check_finite(found, first, plan)
        losses.append(found)
        told(first + len(found), float(found.mean()))
    return np.concatenate(losses) if losses else np.empty(0, np.float32)


def make_optimizer(plan: FitPlan) -> keras.optimizers.Optimizer:
    """Makes the optimiser of a plan."""
    rate: Any = plan.rate
    if plan.decay == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(plan.rate, max(plan.updates, 1))
    elif plan.decay == "steps":
        bounds = [round(share * plan.updates) for share in (0.4, 0.8)]
        rates = [plan.rate * factor for factor in (1.0, 0.1, 0.01)]
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(bounds, rates)
    if plan.optimizer == "adam":
        return keras.optimizers.Adam(rate, epsilon=_ADAM_EPSILON)
    return keras.optimizers.SGD(rate, momentum=0.9)


def _compiled(
    loss: Loss, variables: list[Any], data: Data, plan: FitPlan
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Many updates in one call; rows `[updates, batch]` and their weights come in."""
    optimizer = make_optimizer(plan)
    optimizer.build(variables)

    def update(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        taken = {name: gather_rows(source, rows) for name, source in data.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable.value)
            mean = tf.reduce_sum(loss(taken) * weights)
        gradients = tape.gradient(
            mean, [v.value for v in variables], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        if plan.weight_decay:
            pulls = (plan.weight_decay * tf.convert_to_tensor(v.value) for v in variables)
            gradients = [g + pull for g, pull in zip(gradients, pulls, strict=True)]
        optimizer.apply(gradients, variables)
        return mean

    def run(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        count = tf.shape(rows)[0]
        results = tf.TensorArray(tf.float32, size=count)

        def body(i: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return i + 1, results.write(i, update(rows[i], weights[i]))

        # One update at a time, as in `grafting.step`: a kernel that runs twice at once may crash.
        _, results = tf.while_loop(
            lambda i, _: i < count, body, [0, results], parallel_iterations=1
        )
        return results.stack()

    width = min(plan.batch, _count(data))
    signature = [tf.TensorSpec([None, width], kind) for kind in (tf.int32, tf.float32)]
    return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()


def _count(data: Data) -> int:
    return int(next(iter(data.values())).shape[0])


def _check_finite(losses: np.ndarray, first: int, plan: FitPlan) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise KgraftError(
            f"{plan.name}: the loss became {losses[bad[0]]} at update {first + int(bad[0]) + 1} of "
            f"{plan.updates}, at a learning rate of {plan.rate:g}"
        )
