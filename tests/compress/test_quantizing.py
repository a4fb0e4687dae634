"""Training with int8 emulated: what stays of the kernels that went in, and their ranges."""

import dataclasses

import keras
import numpy as np
from keras import layers as kl

from .conftest import SHAPE


def thin_start():
    """A student whose first kernel is so small that pruning leaves it alone."""
    keras.utils.set_random_seed(6)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    for name, width, size in (("first", 2, 1), ("second", 16, 3), ("third", 16, 3)):
        x = kl.ReLU(name=f"{name}_relu")(kl.Conv2D(width, size, name=name)(x))
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, kl.Dense(5, name="logits")(x), name="student")


def test_a_kernel_that_is_not_pruned_does_not_cost_others_their_zeros(stage):
    technique = "prune+cluster+quantize"
    made = dataclasses.replace(stage, student=thin_start()).run(technique, select="last")
    assert "first" in [left.name for left in made.outcomes[0].left]
    for name in ("second", "third"):
        before, after = (
            np.asarray(model.get_layer(name).kernel)
            for model in (made.model, made.quantized.floats)
        )
        assert not np.array_equal(before, after) and np.sum(before == 0) > before.size // 5
        assert (after[before == 0] == 0).all()
