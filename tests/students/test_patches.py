import numpy as np
import pytest
from keras import layers as kl

from kgraft.students.patches import patches_at


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": (1, 3), "padding": "valid"},
        {"kernel_size": 3, "padding": "same", "strides": 2},
        {"kernel_size": 4, "padding": "valid", "strides": (2, 1)},
        {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(7, 8), (8, 5)], ids=str)
def test_patches_times_the_kernel_are_what_the_convolution_makes(options, size):
    x = np.random.default_rng(0).normal(size=(3, *size, 4)).astype("float32")
    layer = kl.Conv2D(5, use_bias=False, **options)
    made = np.asarray(layer(x))
    places = np.nonzero(np.random.default_rng(1).random(made.shape[:-1]) < 0.6)
    assert 0 < len(places[0]) < made[..., 0].size
    kernel = np.asarray(layer.kernel).reshape(-1, 5)
    np.testing.assert_allclose(patches_at(layer, x, places) @ kernel, made[places], atol=1e-5)


def test_a_dense_layer_sees_its_input():
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")
    layer = kl.Dense(2, use_bias=False)
    made = np.asarray(layer(x))
    places = (np.array([0, 2]), np.array([3, 1]))
    np.testing.assert_allclose(
        patches_at(layer, x, places) @ np.asarray(layer.kernel), made[places], atol=1e-5
    )
