"""Losses against values worked out by hand."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.grafting.losses import LOSSES, feature_mse, kl, make_loss, mse, normalized_mse
from kgraft.graph import logits_graph, trace_model


def _t(values: list) -> tf.Tensor:
    return tf.constant(values, tf.float32)


def test_normalized_mse_is_the_distance_of_unit_vectors() -> None:
    student, teacher = (
        _t([[3.0, 4.0], [2.0, 0.0], [1.0, 0.0]]),
        _t([[6.0, 8.0], [0.0, 5.0], [-7.0, 0.0]]),
    )
    np.testing.assert_allclose(normalized_mse(student, teacher), [0.0, 2.0, 4.0], atol=1e-6)


def test_normalized_mse_of_zero_logits_has_a_finite_gradient() -> None:
    student = tf.zeros([1, 2])
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = normalized_mse(student, _t([[1.0, 2.0]]))
    assert np.isfinite(tape.gradient(loss, student).numpy()).all()


def test_the_two_logits_of_a_binary_teacher_say_more_than_the_sign() -> None:
    """Two logits of one direction have no gradient, as 0 and z of one sign have not."""
    x = keras.Input([1, 1, 1])
    graph, _ = logits_graph(trace_model(keras.Model(x, keras.layers.Flatten()(x))), "logits")

    def gradient(pair: Callable[[tf.Tensor], tf.Tensor], student: float, teacher: float) -> float:
        z = _t([[[[student]]]])
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = normalized_mse(pair(z), pair(_t([[[[teacher]]]])))
        return float(tape.gradient(loss, z)[0, 0, 0, 0])

    def from_zero(z: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.zeros([1, 1]), z[:, :, 0, 0]], -1)

    assert abs(gradient(from_zero, 3.0, 1.0)) < 1e-6
    for student, teacher in ((3.0, 1.0), (8.0, 6.0), (-1.0, -3.0)):
        assert gradient(graph, student, teacher) > 0.005
        assert gradient(graph, teacher, student) < -0.005


def test_mse_is_a_mean_over_classes() -> None:
    np.testing.assert_allclose(mse(_t([[1.0, 2.0]]), _t([[0.0, 4.0]])), [2.5])


def test_kl_by_hand() -> None:
    teacher = _t([[np.log(3.0), 0.0]])
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    np.testing.assert_allclose(kl(_t([[0.0, 0.0]]), teacher), [expected], rtol=1e-5)


def test_kl_divides_logits_and_multiplies_the_loss_by_the_temperature() -> None:
    student, teacher = _t([[0.3, -1.0, 2.0]]), _t([[1.0, 0.0, 0.5]])
    np.testing.assert_allclose(
        kl(student, teacher, temperature=4.0), 16 * kl(student / 4, teacher / 4), rtol=1e-5
    )


def test_feature_mse_is_relative_to_the_teacher() -> None:
    teacher = np.random.default_rng(0).normal(size=[3, 4, 4, 2]).astype(np.float32)
    np.testing.assert_allclose(feature_mse(_t(0 * teacher), _t(teacher)), [1.0] * 3, rtol=1e-5)
    np.testing.assert_allclose(
        feature_mse(_t(150 * teacher), _t(100 * teacher)), [0.25] * 3, rtol=1e-5
    )
    np.testing.assert_allclose(feature_mse(_t([[0.0]]), _t([[0.0]])), [0.0])


def test_an_example_that_the_teacher_is_silent_on_is_not_all_that_counts() -> None:
    """Its error counts by a thousandth of the mean size of the batch, (1 + 0) / 2 here."""
    found = feature_mse(_t([[1.1, 1.0], [0.01, 0.0]]), _t([[1.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [0.005, 0.5e-4 / 0.5e-3], rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_zero_for_the_teacher_and_positive_beside_it(name: str) -> None:
    teacher = _t([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    loss = make_loss(name, temperature=2.0)
    np.testing.assert_allclose(loss(teacher, teacher), [0.0, 0.0], atol=1e-6)
    assert (loss(teacher[:, ::-1], teacher).numpy() > 0.05).all()


@pytest.mark.parametrize("loss", [*LOSSES.values(), feature_mse])
def test_shapes_must_agree(loss) -> None:
    with pytest.raises(KgraftError, match=r"student's is \(2, 3\), the teacher's \(2, 4\)"):
        loss(tf.zeros([2, 3]), tf.zeros([2, 4]))


def test_unknown_loss() -> None:
    with pytest.raises(
        KgraftError, match="--loss must be one of normalized_mse, mse, kl; got 'l1'"
    ):
        make_loss("l1")
