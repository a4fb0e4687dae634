import numpy as np
import pytest
import tensorflow as tf
from keras.applications import imagenet_utils

from kgraft.config import PREPROCESSINGS
from kgraft.data.preprocess import PREPROCESSORS, normalization, preprocess
from kgraft.errors import KgraftError

from .conftest import picture

IMAGES = np.stack([picture(seed) for seed in range(2)])


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_modes_are_those_of_keras_applications(mode):
    expected = imagenet_utils.preprocess_input(IMAGES.astype(np.float32), mode=mode)
    np.testing.assert_allclose(preprocess(IMAGES, mode), expected, atol=1e-5)


def test_none_and_unit():
    np.testing.assert_array_equal(preprocess(IMAGES, "none"), IMAGES.astype(np.float32))
    np.testing.assert_allclose(preprocess(IMAGES, "unit"), IMAGES / 255.0, atol=1e-7)


@pytest.mark.parametrize("name", PREPROCESSORS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_and_tensors_give_the_same_float32(name, dtype):
    images = IMAGES.astype(dtype)
    before = images.copy()
    array = preprocess(images, name)
    eager = preprocess(tf.constant(images), name)
    traced = tf.function(lambda x: preprocess(x, name))(tf.constant(images))
    assert array.dtype == np.float32
    assert eager.dtype == traced.dtype == tf.float32
    np.testing.assert_allclose(array, eager, atol=1e-5)
    np.testing.assert_allclose(array, traced, atol=1e-5)
    np.testing.assert_array_equal(images, before)


def test_names_are_those_of_the_flag():
    assert set(PREPROCESSORS) == set(PREPROCESSINGS) - {"auto"}


def test_unknown_name():
    with pytest.raises(KgraftError, match="must be one of none, unit, tf, torch, caffe; got 'x'"):
        preprocess(IMAGES, "x")


@pytest.mark.parametrize("name", ["torch", "caffe"])
def test_grey_images_have_no_imagenet_mean(name):
    with pytest.raises(KgraftError, match=f"{name}' expects RGB images, 3 channels; got 1"):
        preprocess(IMAGES[..., :1], name)


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_each_mode_is_its_normalization(name):
    steps = normalization(name)
    values = IMAGES[..., ::-1] if steps.reversed_channels else IMAGES
    by_hand = (values.astype(np.float64) - steps.mean) / steps.std
    np.testing.assert_allclose(preprocess(IMAGES, name), by_hand, rtol=1e-5, atol=1e-4)
