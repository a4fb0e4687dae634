"""Small students of every kind of layer, with BatchNorm statistics that matter."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from kgraft.export import float32_bytes

SHAPE = (12, 12, 3)
CLASSES = 5


def conv_model(shape=SHAPE) -> keras.Model:
    image = keras.Input(shape, name="pixels")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, name="head")(x), name="conv")


def batchnorm_model() -> keras.Model:
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(CLASSES)(x), name="batchnorm")


def depthwise_model() -> keras.Model:
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 1)(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = keras.layers.ReLU(max_value=6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(CLASSES)(x), name="depthwise")


def residual_model() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(0.5)(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(keras.layers.ReLU()(x))
    x = keras.layers.Add()([x, keras.layers.BatchNormalization()(y)])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(image, keras.layers.Dense(CLASSES)(x), name="residual")


def nested_model() -> keras.Model:
    inside = keras.Input((12, 12, 8))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(inside)
    inner = keras.Model(inside, keras.layers.BatchNormalization()(x), name="inner")
    image = keras.Input(SHAPE)
    x = keras.layers.ReLU()(inner(keras.layers.Conv2D(8, 1)(image)))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model([image], [keras.layers.Dense(CLASSES)(x)], name="nested")


def shared_model() -> keras.Model:
    image = keras.Input(SHAPE, name="pixels")
    shared = keras.layers.Conv2D(8, 3, padding="same", activation="relu")
    x = shared(keras.layers.Conv2D(8, 1)(image))
    x = keras.layers.GlobalAveragePooling2D()(shared(x) + x)
    return keras.Model({"pixels": image}, {"out": keras.layers.Dense(CLASSES)(x)}, name="shared")


MODELS: dict[str, Callable[[], keras.Model]] = {
    "conv": conv_model,
    "batchnorm": batchnorm_model,
    "depthwise": depthwise_model,
    "residual": residual_model,
    "nested": nested_model,
    "shared": shared_model,
}


def with_random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.5, 1.5) if "variance" in weight.path else (-0.5, 0.5)
        weight.assign(rng.uniform(low, high, weight.shape))
    return model


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (24, *SHAPE)).astype(np.float32)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> keras.Model:
    return with_random_weights(MODELS[request.param]())


@pytest.fixture
def student() -> keras.Model:
    return with_random_weights(conv_model())


@pytest.fixture(scope="module")
def plain() -> bytes:
    """The student's float32 file."""
    return float32_bytes(with_random_weights(conv_model()))


@pytest.fixture
def norm_student() -> keras.Model:
    return with_random_weights(batchnorm_model())


@pytest.fixture
def unconvertible() -> keras.Model:
    """A student with an op that neither the CPU's nor a phone's built-in ops have."""
    image = keras.Input((2, 2, 3))
    x = keras.layers.Flatten()(image)
    square = keras.layers.Reshape((3, 3))(keras.layers.Dense(9)(x))
    value = keras.layers.Reshape((1,))(keras.ops.det(square))
    return keras.Model(image, keras.layers.Dense(CLASSES)(value), name="determined")
