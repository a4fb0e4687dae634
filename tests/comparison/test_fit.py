import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.comparison.fit import FitPlan, fit, make_optimizer
from kgraft.errors import KgraftError

TARGETS = np.array([[1.0], [3.0], [5.0]], np.float32)


def plan(**changes):
    settings = {"updates": 45, "batch": 3, "rate": 0.1, "optimizer": "sgd", "decay": "constant"}
    return FitPlan("test", **settings | changes)


def squares(variable):
    return lambda rows: tf.reduce_sum(tf.square(variable.value - rows["y"]), 1)


def test_it_finds_the_mean_of_the_targets():
    variable = keras.Variable([0.0])
    losses = fit(squares(variable), [variable], {"y": tf.constant(TARGETS)}, plan=plan(), seed=0)
    assert losses.shape == (45,)
    np.testing.assert_allclose(losses[0], np.mean(TARGETS**2), rtol=1e-6)
    np.testing.assert_allclose(variable.numpy(), [3.0], atol=0.3)


def test_one_update_of_sgd_is_the_gradient_with_the_weight_decay():
    variable = keras.Variable([2.0])
    once = plan(updates=1, weight_decay=0.5)
    fit(squares(variable), [variable], {"y": tf.constant(TARGETS)}, plan=once, seed=0)
    gradient = np.mean(2 * (2.0 - TARGETS)) + 0.5 * 2.0
    np.testing.assert_allclose(variable.numpy(), [2.0 - 0.1 * gradient], rtol=1e-6)


def test_an_uneven_last_batch_counts_each_view_once():
    variable = keras.Variable([0.0])
    losses = fit(
        squares(variable),
        [variable],
        {"y": tf.constant(TARGETS)},
        plan=plan(updates=2, batch=2, rate=1e-9),
        seed=0,
    )
    np.testing.assert_allclose(2 * losses[0] + losses[1], np.sum(TARGETS**2), rtol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_no_updates_change_none():
    ends = []
    for updates in (7, 7, 0):
        variable = keras.Variable([0.0])
        data = {"y": tf.constant(TARGETS)}
        short = plan(updates=updates, batch=1)
        ends.append((
            fit(squares(variable), [variable], data, plan=short, seed=3),
            variable.numpy(),
        ))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    np.testing.assert_array_equal(ends[0][1], ends[1][1])
    assert (len(ends[2][0]), ends[2][1]) == (0, [0.0])


def test_a_loss_that_is_not_finite_is_an_error():
    variable = keras.Variable([1.0])
    wild = plan(rate=1e20)
    with pytest.raises(KgraftError, match=r"test: the loss became (inf|nan) at update \d+ of 45"):
        fit(squares(variable), [variable], {"y": tf.constant(TARGETS)}, plan=wild, seed=0)


@pytest.mark.parametrize(
    ("decay", "rates"),
    [("constant", [1, 1, 1]), ("steps", [1, 0.1, 0.01]), ("cosine", [1, 0.5, 0])],
)
def test_rates_over_time(decay, rates):
    optimizer = make_optimizer(plan(updates=100, rate=1.0, decay=decay))
    optimizer.build([keras.Variable([0.0])])
    found = []
    for step in (0, 50, 100):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(found, rates, atol=1e-6)


def test_optimizers_and_what_a_record_says():
    assert isinstance(make_optimizer(plan(optimizer="adam")), keras.optimizers.Adam)
    assert isinstance(make_optimizer(plan()), keras.optimizers.SGD)
    assert plan().describe() == {
        "updates": 45,
        "batch": 3,
        "rate": 0.1,
        "optimizer": "sgd",
        "decay": "constant",
        "weight_decay": 0.0,
    }
