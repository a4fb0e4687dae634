"""The compiled loop of steps."""

import numpy as np
import pytest
import tensorflow as tf

from kgraft.grafting.step import _Loop
from kgraft.grafting.strategy import make_strategy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_steps_do_not_run_into_each_other(dtype: str) -> None:
    """Several at once share kernels that cannot do two things at once: the process would die."""
    random = np.random.default_rng(0)
    maps = tf.constant(random.normal(size=(800, 16, 16, 32)), tf.float32)
    kernel = tf.Variable(tf.cast(random.normal(size=(3, 3, 32, 32)) * 0.05, dtype))
    bias = tf.Variable(tf.zeros(32, dtype))

    def energy(x):
        x = tf.cast(x, dtype)
        y = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias) + x
        return tf.reduce_sum(tf.square(tf.cast(y, tf.float32)))

    def step(rows, weights, data):
        return tf.expand_dims(energy(tf.gather(data["entry"], rows)) * weights[0], 0)

    loop = _Loop(make_strategy("one_device"), step, 1, {"entry": maps})
    run = loop.compiled(20)
    rows = tf.reshape(tf.range(800), [40, 20])
    alone = tf.function(energy)
    expected = [alone(maps[20 * i : 20 * i + 20]).numpy() for i in range(40)]
    for _ in range(10):
        found = run(rows, tf.ones([40, 20])).numpy()[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
