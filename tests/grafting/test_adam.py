"""The fused update against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.grafting.adam import FusedAdam
from kgraft.grafting.strategy import make_strategy

_SHAPES = ((3, 3, 4, 5), (7,))


def _train(optimizer, steps=20):
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype("f")) for shape in _SHAPES]
    optimizer.build(variables)

    @tf.function
    def step(gradients):
        optimizer.apply(gradients, variables)

    for _ in range(steps):
        step([tf.constant(rng.normal(size=shape), tf.float32) for shape in _SHAPES])
    return [v.numpy() for v in (*variables, *optimizer.variables)]


@pytest.mark.parametrize("schedule", [1e-2, keras.optimizers.schedules.CosineDecay(1e-2, 30)])
def test_updates_and_moments_are_those_of_keras(schedule):
    ours = _train(FusedAdam(schedule, epsilon=1e-8))
    theirs = _train(keras.optimizers.Adam(schedule, epsilon=1e-8))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    started = _train(FusedAdam(schedule, epsilon=1e-8), steps=0)
    assert not np.allclose(ours[0], started[0], atol=1e-2)


def test_in_a_strategys_replica_context():
    strategy = make_strategy("one_device")
    with strategy.scope():
        variable = keras.Variable(np.ones([2, 2], "f"))
        optimizer = FusedAdam(0.1)
        optimizer.build([variable])

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.ones([2, 2])], [variable]))

    step()
    np.testing.assert_allclose(variable.numpy(), np.full([2, 2], 0.9), atol=1e-5)
