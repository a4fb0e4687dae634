import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.teach.step import accuracy, make_learner, smoothed_cross_entropy


def linear(classes=2):
    image = keras.Input((1, 1, 3))
    x = keras.layers.Flatten()(image)
    return keras.Model(image, keras.layers.Dense(classes, dtype="float32")(x))


def test_cross_entropy_by_hand():
    logits = tf.constant([[0.0, np.log(3.0)]], tf.float32)
    for smoothing, target in ((0.0, [1.0, 0.0]), (0.2, [0.9, 0.1])):
        expected = -target[0] * np.log(0.25) - target[1] * np.log(0.75)
        found = smoothed_cross_entropy(logits, tf.constant([0], tf.int64), smoothing=smoothing)
        np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_cross_entropy_checks_shapes():
    with pytest.raises(ValueError, match=r"expected logits \[batch, classes\]"):
        smoothed_cross_entropy(tf.zeros([2]), tf.zeros([2], tf.int64), smoothing=0.0)


def learner(model, **changes):
    settings = {"momentum": 0.9, "weight_decay": 0.1, "label_smoothing": 0.0, "scale_loss": False}
    return make_learner(model, **settings | changes)


@pytest.mark.parametrize("scale_loss", [False, True])
def test_two_steps_by_hand(scale_loss):
    """Nesterov momentum, the rate of each step, decay on the kernel and not on the bias."""
    model = linear()
    kernel, bias = (array.astype("float64") for array in model.get_weights())
    x = np.random.default_rng(0).normal(size=(4, 3))
    labels = np.array([0, 1, 1, 0])
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    train = learner(model, scale_loss=scale_loss)
    images = tf.constant(x.reshape(4, 1, 1, 3), tf.float32)
    for rate in (0.1, 0.05):
        exponent = np.exp(x @ kernel + bias)
        error = (exponent / exponent.sum(-1, keepdims=True) - np.eye(2)[labels]) / 4
        gradients = [x.T @ error + 0.1 * kernel, error.sum(0)]
        velocity = [0.9 * v - rate * g for v, g in zip(velocity, gradients, strict=True)]
        steps = [0.9 * v - rate * g for v, g in zip(velocity, gradients, strict=True)]
        kernel, bias = kernel + steps[0], bias + steps[1]
        train.step(images, tf.constant(labels), tf.constant(rate))
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], bias, atol=1e-5)


def test_step_returns_loss_and_accuracy_before_the_update():
    model = linear()
    model.set_weights([np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.zeros(2, "float32")])
    images = tf.constant(np.eye(3)[[0, 1, 1, 1]].reshape(4, 1, 1, 3), tf.float32)
    labels = tf.constant([0, 1, 1, 0], tf.int64)
    loss, right = learner(model).step(images, labels, tf.constant(0.1))
    expected = -np.log(np.exp([1, 1, 1, 0]) / (1 + np.e)).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(right) == 0.75


def test_frozen_weights_stay():
    model = linear()
    model.layers[-1].trainable = False
    head = keras.layers.Dense(2)(model.output)
    whole = keras.Model(model.input, head)
    before = model.get_weights()
    images, labels = tf.ones([2, 1, 1, 3]), tf.constant([0, 1], tf.int64)
    learner(whole).step(images, labels, tf.constant(0.1))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_accuracy_counts_uneven_batches_by_image():
    model = linear()
    model.set_weights([np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.zeros(2, "float32")])
    one, two = (np.eye(3, dtype=np.uint8)[[n]].reshape(1, 1, 1, 3) for n in (0, 1))
    batches = [(np.concatenate([one, two, two]), np.array([0, 1, 1])), (one, np.array([1]))]
    assert accuracy(model, batches) == 0.75
    assert accuracy(model, []) is None
