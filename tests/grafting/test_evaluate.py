"""Logits batch by batch, and agreement."""

import numpy as np
import pytest
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.grafting import agreement
from kgraft.grafting.evaluate import batched_logits


def test_logits_are_those_of_all_images_at_once() -> None:
    images = np.random.default_rng(0).normal(size=(7, 4, 4, 3)).astype("float32")
    run = tf.function(lambda x: tf.reduce_sum(x, [1, 2]))
    for batch in (3, 7, 64):
        np.testing.assert_allclose(batched_logits(run, images, batch=batch), run(images), rtol=1e-6)


def test_no_images() -> None:
    with pytest.raises(KgraftError, match="at least one image"):
        batched_logits(lambda x: x, np.empty([0, 2]))


def test_agreement_counts_equal_classes() -> None:
    student = np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.1], [3.0, 4.0]])
    teacher = np.array([[5.0, 0.0], [9.0, 1.0], [0.9, 0.1], [0.0, 0.1]])
    assert agreement(student, teacher) == 0.75


def test_agreement_of_different_shapes() -> None:
    with pytest.raises(KgraftError, match=r"got \(3, 2\) and \(4, 2\)"):
        agreement(np.zeros([3, 2]), np.zeros([4, 2]))
