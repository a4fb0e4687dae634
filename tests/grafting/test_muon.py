"""Kernels move as in Keras's Muon, all other weights as in its Adam."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.grafting.muon import KernelMuon, is_matrix
from kgraft.grafting.strategy import make_strategy

_RATE = 1e-2


def _train(optimizer, shape, reshape=None, steps=10):
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape).astype("f")
    variable = keras.Variable(start.reshape(reshape or shape))
    optimizer.build([variable])
    for _ in range(steps):
        gradient = rng.normal(size=shape).astype("f").reshape(reshape or shape)
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy().reshape(shape)


def _kerass_muon():
    return keras.optimizers.Muon(_RATE, weight_decay=None, adam_weight_decay=None)


@pytest.mark.parametrize("shape", [(3, 3, 4, 16), (1, 1, 8, 4), (5, 6), (3, 4, 5)])
def test_kernels_move_as_in_keras(shape):
    matrix = (int(np.prod(shape[:-1])), shape[-1])
    ours = _train(KernelMuon(_RATE, epsilon=1e-8), shape)
    np.testing.assert_allclose(ours, _train(_kerass_muon(), shape, matrix), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(7,), (3, 3, 5, 1), (4, 1)])
def test_other_weights_move_as_in_adam(shape):
    ours = _train(KernelMuon(_RATE, epsilon=1e-8), shape)
    adam = _train(keras.optimizers.Adam(_RATE, epsilon=1e-8), shape)
    np.testing.assert_allclose(ours, adam, rtol=1e-4, atol=1e-5)


def test_a_step_is_about_as_long_in_all_directions():
    # One direction has a hundred times the gradient of the others.
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    gradient = rotation @ np.diag([100.0] + [1.0] * 7)
    variable = keras.Variable(np.zeros([8, 8], "f"))
    optimizer = KernelMuon(_RATE, epsilon=1e-8)
    optimizer.build([variable])
    optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    lengths = np.linalg.svd(variable.numpy(), compute_uv=False)
    assert lengths.max() < 2 * lengths.min()
    # 0.2 * rate for each weight on average, as the paper on its size has it.
    assert 0.1 * _RATE < np.sqrt(np.mean(variable.numpy() ** 2)) < 0.3 * _RATE


def test_in_a_strategys_replica_context():
    strategy = make_strategy("one_device")
    with strategy.scope():
        variable = keras.Variable(np.eye(3, dtype="f"))
        optimizer = KernelMuon(_RATE, epsilon=1e-8)
        optimizer.build([variable])

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.eye(3)], [variable]))

    step()
    moved = 1.0 - np.diag(variable.numpy())
    assert (moved > 0).all()


def test_what_is_a_matrix():
    assert is_matrix((3, 3, 4, 16)) and is_matrix((5, 6))
    assert not is_matrix((6,)) and not is_matrix((3, 3, 5, 1)) and not is_matrix(())
