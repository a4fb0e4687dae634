"""Models made anew to compute in float32."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from kgraft.errors import KgraftError
from kgraft.zoo import check_model, float32_copy
from kgraft.zoo.float32 import half_precision

PIXELS = np.random.default_rng(0).random((4, 8, 8, 3), "float32")


def of_many_kinds(policy, inputs="float32"):
    """Layers inside of layers: activations, wrapped ones, a nested model; and a cast."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    try:
        image = keras.Input((8, 8, 3), dtype=inputs, name="image")
        x = kl.Conv2D(8, 3, activation=kl.LeakyReLU(), name="bent")(image)
        bent = kl.PReLU(alpha_initializer="random_normal", shared_axes=[1, 2])
        x = kl.Conv2D(8, 3, activation=bent, use_bias=False, name="learned")(x)
        x = kl.SpectralNormalization(kl.Conv2D(8, 1, activation=kl.ReLU()), name="wrapper")(x)
        inner = keras.Sequential([keras.Input((4, 4, 8)), kl.Conv2D(4, 3, activation=kl.ELU())])
        x = inner(keras.ops.cast(x * 2.0, "float16"))
        x = kl.Dense(5, dtype="float32")(kl.GlobalAveragePooling2D()(x))
    finally:
        keras.config.set_dtype_policy(former)
    return keras.Model(image, x, name="kinds")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float32"])
def test_nothing_stays_in_half_precision(policy):
    mixed = of_many_kinds(policy, "float16" if policy == "float16" else "float32")
    exact = np.asarray(mixed(PIXELS))
    made = check_model(mixed, "mixed")
    assert made is not mixed and half_precision(mixed) and not half_precision(made)
    assert {layer.compute_dtype for layer in made._flatten_layers()} == {"float32"}
    assert {weight.dtype for weight in made.weights} == {made.input.dtype} == {"float32"}
    for call in ("bent", "learned", "wrapper"):
        between = keras.Model(made.input, made.get_layer(call).output)(PIXELS)
        assert between.dtype == "float32" == made.get_layer(call).output.dtype
    np.testing.assert_allclose(made(PIXELS), exact, atol=1e-2)
    for new, old in zip(made.weights, mixed.weights, strict=True):
        np.testing.assert_array_equal(new, np.asarray(old))


def test_a_float32_model_is_taken_as_it_is():
    image = keras.Input((8, 8, 3))
    x = kl.Conv2D(4, 3, activation=kl.LeakyReLU())(image)
    model = keras.Model(image, kl.Dense(2)(kl.GlobalAveragePooling2D()(x)))
    assert check_model(model, "plain") is model


def test_a_copy_has_weights_of_its_own_also_inside_of_layers():
    """An activation has none before it has been called, of the original as of the copy."""
    model = of_many_kinds("float32")
    copy = float32_copy(model)
    assert len(copy.weights) == 11
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in model.weights}
    np.testing.assert_allclose(copy(PIXELS), model(PIXELS), atol=1e-4)


def test_a_compiled_model_within_a_dict_is_copied_plain():
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model({"image": image}, [kl.Dense(2)(kl.GlobalAveragePooling2D()(image))])
    model.compile("sgd", loss=lambda wanted, made: keras.ops.sum(made))
    copy = float32_copy(model)
    assert not copy.compiled and copy(PIXELS).shape == (4, 2)


class Stubborn(kl.Layer):
    """Has a layer inside that is of half precision, whatever its own is."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = kl.Conv2D(3, 1, dtype="mixed_float16", name="inner")

    def call(self, x):
        return self.inner(x)


def test_what_stays_in_half_precision_is_named():
    image = keras.Input((8, 8, 3))
    x = kl.GlobalAveragePooling2D()(Stubborn(name="own")(image))
    message = (
        r"m computes in half precision, and cannot be made anew in float32: expected a float32 "
        r"model \(layer inner computes in half precision whatever"
    )
    with pytest.raises(KgraftError, match=message):
        check_model(keras.Model(image, kl.Dense(2)(x)), "m")
