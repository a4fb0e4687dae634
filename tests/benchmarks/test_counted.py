"""The layer that counts images."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.counted import Counted


def test_images_are_counted_when_they_run_and_come_out_unchanged(monkeypatch):
    monkeypatch.setattr(Counted, "images", 0)
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, Counted()(image))
    assert Counted.images == 0
    run = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec([None, 2, 2, 1])])
    batch = np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype("float32")
    for _ in range(4):
        np.testing.assert_array_equal(run(batch), batch)
    assert Counted.images == 12
