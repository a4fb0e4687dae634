"""What int8 can be emulated in, and layers that scale channels as convolutions."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers as kl
from small_models import images

from kgraft.compress import check_compressible, to_tf_keras
from kgraft.compress.affine import with_convolutions
from kgraft.compress.emulation import check_quantizable, emulate_int8
from kgraft.compress_config import CompressConfig
from kgraft.errors import KgraftError
from kgraft.grafting.fake_quant import fake_int8

SHAPE = (8, 8, 3)


def model(*layers):
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = image
    for layer in layers:
        x = layer(x)
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, kl.Dense(4, name="logits")(x))


@pytest.mark.parametrize(
    "layer",
    [
        kl.Rescaling(1 / 127.5, -1, name="x"),
        kl.Rescaling([0.5, 2.0, 3.0], [1.0, 0.0, -1.0], name="x"),
        kl.Normalization(mean=[0.1, 0.2, 0.3], variance=[2.0, 3.0, 4.0], name="x"),
        kl.BatchNormalization(beta_initializer="ones", gamma_initializer="uniform", name="x"),
        kl.BatchNormalization(scale=False, center=False, name="x"),
    ],
)
def test_layers_that_scale_channels_become_convolutions(layer):
    plain = to_tf_keras(model(layer, kl.Conv2D(4, 3, name="conv")))
    made, names = with_convolutions(plain)
    assert names == ("x",) and isinstance(made.get_layer("x"), tf_keras.layers.DepthwiseConv2D)
    x = images(shape=SHAPE)
    np.testing.assert_allclose(made(x), plain(x), rtol=1e-5, atol=1e-5)


def test_other_axes_are_not_taken_for_channels():
    # As many rows as channels.
    square = [kl.Conv2D(8, 1), kl.BatchNormalization(axis=1, name="x")]
    _, names = with_convolutions(to_tf_keras(model(*square)))
    assert names == ()


def test_weights_behind_which_a_relu_follows_are_rounded_too():
    layers = kl.Conv2D(4, 3, name="conv"), kl.ReLU(name="relu")
    emulated = emulate_int8(to_tf_keras(model(*layers)), ())
    rounded = [layer.layer.name for layer in emulated.layers if getattr(layer, "_weight_vars", 0)]
    assert rounded == ["conv", "logits"]


def test_depthwise_kernels_have_a_range_for_each_channel():
    plain = to_tf_keras(model(kl.DepthwiseConv2D(3, depth_multiplier=2, name="depth")))
    layer = plain.get_layer("depth")
    kernel, bias = layer.get_weights()
    # The channels differ by a factor of thousands: in one range most of them would be zero.
    kernel = kernel * 10.0 ** np.linspace(-3, 1, kernel[0, 0].size).reshape(kernel.shape[2:])
    layer.set_weights([kernel, bias])
    emulated = emulate_int8(plain, ())
    wrapper = next(w for w in emulated.layers if getattr(w, "_weight_vars", None))
    ((weight, quantizer, ranges),) = wrapper._weight_vars
    found = np.asarray(quantizer(weight, True, weights=ranges))
    exact = np.asarray(fake_int8(tf.constant(kernel, tf.float32), (-2, -1)))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert (np.abs(found).max(axis=(0, 1)) > 0).all()


def joined():
    """A chain of layers: two convolutions with nothing behind them, then joined."""
    return lambda x: kl.Concatenate(name="join")([kl.Conv2D(8, 3, name=n)(x) for n in "ab"])


@pytest.mark.parametrize("done", [("prune",), ("prune", "cluster")])
def test_zeros_stay_where_a_convolution_is_joined_to_another(done):
    plain = to_tf_keras(model(joined()))
    for name in "ab":
        kernel, bias = plain.get_layer(name).get_weights()
        kernel = np.sign(kernel) * (np.abs(kernel) > np.median(np.abs(kernel)))
        plain.get_layer(name).set_weights([kernel, bias])
    wrappers = [w for w in emulate_int8(plain, done).layers if getattr(w, "_weight_vars", None)]
    assert [w.layer.name for w in wrappers] == ["a", "b", "logits"]
    for wrapper in wrappers[:2]:
        ((weight, quantizer, ranges),) = wrapper._weight_vars
        zeros = np.asarray(weight) == 0
        weight.assign_add(tf.fill(weight.shape, 0.1))
        found = np.asarray(quantizer(weight, True, weights=ranges))
        assert (found[zeros] == 0).all() and found[~zeros].all()


def nested(x):
    """Three branches, joined in two steps."""
    a, b, c = (kl.ReLU()(kl.Conv2D(n, 3, name=f"conv{n}")(x)) for n in (2, 4, 8))
    x = kl.Concatenate(name="outer")([kl.Concatenate(name="inner")([b, a]), c])
    return kl.Conv2D(8, 1, name="last")(x)


def many(x):
    """More branches than tensorflow-model-optimization would round in one range."""
    branches = [kl.ReLU(name=f"relu{n}")(kl.Conv2D(n, 3)(x)) for n in range(1, 8)]
    return kl.Conv2D(8, 1, name="last")(kl.Concatenate(name="outer")(branches))


@pytest.mark.parametrize("make", [nested, many])
def test_what_is_joined_keeps_its_order_and_is_rounded_once(make):
    given, x = model(make), images(shape=SHAPE)
    emulated = emulate_int8(to_tf_keras(given), ())
    emulated(x, training=True)
    wanted = np.asarray(given(x))
    # The ranges of activations are still those they begin with, -6 to 6.
    assert np.abs(np.asarray(emulated(x)) - wanted).max() < 0.2 * np.abs(wanted).max()
    rounded = [w.layer.name for w in emulated.layers if getattr(w, "_output_quantizers", None)]
    assert rounded == ["outer", "pool"]


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (kl.PReLU(name="bent"), "'bent', a PReLU: leave quantize out and take --formats=int8"),
        (kl.Conv2D(4, 3, activation="elu", name="c"), "'c', a Conv2D with the activation elu: le"),
        (kl.Activation("softplus", name="a"), "'a', a Activation with the activation softplus"),
        (
            kl.SeparableConv2D(4, 3, name="s"),
            "=quantize cannot emulate int8 in layer 's'",
        ),
        (kl.ReLU(threshold=1.0, name="t"), "'t', a ReLU with a threshold, or with a slope and a m"),
        (
            kl.ReLU(6.0, 0.1, name="u"),
            "'u', a ReLU with a threshold, or with a slope and a maximum",
        ),
        (kl.BatchNormalization(axis=1, name="b"), "'b', a BatchNormalization that scales other"),
        (
            kl.Rescaling(np.ones([8, 3]).tolist(), name="r"),
            "'r', a Rescaling or what comes to one, .* that",
        ),
        (
            kl.Normalization(axis=1, mean=[0.0] * 8, variance=[1.0] * 8, name="n"),
            "'n', a Normalization that scales other than channels of images",
        ),
    ],
)
def test_what_int8_cannot_be_emulated_in_is_named(layer, what):
    given = model(layer)
    with pytest.raises(KgraftError, match=what):
        check_compressible(given, CompressConfig("quantize"))
    with pytest.raises(KgraftError, match=what):
        check_quantizable(to_tf_keras(given))
    # Pruning takes them.
    check_compressible(given, CompressConfig("prune"))


@pytest.mark.parametrize("first", ["prune", "cluster", "prune+cluster"])
def test_what_cannot_be_kept_where_int8_is_emulated_is_named(first):
    given = model(kl.Conv2D(4, 3, name="conv"), kl.Conv2DTranspose(4, 3, name="up"))
    message = (
        rf"^--compress={re.escape(first)}\+quantize cannot emulate int8 behind "
        f"{first.replace('+', ' and ')} in layer 'up', a Conv2DTranspose: take --compress=quantize "
        "alone, or leave quantize out and take --formats=int8, which is quantised after training$"
    )
    with pytest.raises(KgraftError, match=message):
        check_compressible(given, CompressConfig(f"{first}+quantize"))
    check_compressible(given, CompressConfig(first))
    check_compressible(given, CompressConfig("quantize"))
