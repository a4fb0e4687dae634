"""Layers that are others in one, as those others."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import SHAPE, assert_close, conv, images, state, trained

from kgraft.graph import find_cuts, trace_model, with_plain_layers


def plain(model):
    return with_plain_layers(trace_model(model))


def model_of(*layers):
    image = x = keras.Input(SHAPE)
    for layer in layers:
        x = layer(x)
    return trained(keras.Model(image, x))


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": "same", "activation": "relu"},
        {"strides": 2, "use_bias": False},
        {"dilation_rate": 2, "padding": "same", "depth_multiplier": 2},
        {"activation": kl.LeakyReLU(0.2)},
    ],
)
def test_a_separable_convolution_is_two(settings):
    model = model_of(kl.SeparableConv2D(6, 3, name="sep", **settings))
    before = state(*model.variables)
    graph = plain(model)
    assert [type(call.op) for call in graph.calls] == [kl.DepthwiseConv2D, kl.Conv2D]
    assert [call.name for call in graph.calls] == ["sep_depthwise", "sep"]
    assert [call.op.name for call in graph.calls] == ["sep_depthwise", "sep"]
    x = images()
    values = graph.run(x)
    assert_close(values["sep"], np.asarray(model(x, training=False)))
    assert {name: (None, *value.shape[1:]) for name, value in values.items()} == {
        **graph.shapes,
        "input": (None, *SHAPE),
    }
    assert graph.parameters == model.count_params()
    for old, new in zip(before, state(*model.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_a_separable_convolution_was_trained_by_is_kept():
    layer = kl.SeparableConv2D(
        6,
        3,
        depthwise_initializer="he_normal",
        pointwise_initializer="zeros",
        bias_initializer="ones",
        depthwise_constraint="unit_norm",
        pointwise_regularizer="l2",
        name="sep",
    )
    layer.trainable = False
    depthwise, pointwise = (call.op for call in plain(model_of(layer)).calls)
    assert isinstance(depthwise.depthwise_initializer, keras.initializers.HeNormal)
    assert isinstance(depthwise.depthwise_constraint, keras.constraints.UnitNorm)
    assert isinstance(pointwise.kernel_initializer, keras.initializers.Zeros)
    assert isinstance(pointwise.bias_initializer, keras.initializers.Ones)
    assert isinstance(pointwise.kernel_regularizer, keras.regularizers.L2)
    assert not depthwise.trainable and not pointwise.trainable
    assert not depthwise.use_bias and pointwise.use_bias


def test_a_shared_separable_convolution_stays_one():
    layer = kl.SeparableConv2D(8, 3, padding="same", name="sep")
    image = keras.Input(SHAPE)
    x = conv(image, 8, name="sep_depthwise")
    model = trained(keras.Model(image, layer(layer(x))))
    graph = plain(model)
    names = ["sep_depthwise", "sep_depthwise_2", "sep", "sep_depthwise#2", "sep#2"]
    assert [call.name for call in graph.calls] == names
    ops = [call.op for call in graph.calls]
    assert ops[1] is ops[3] and ops[2] is ops[4]
    assert find_cuts(graph) == tuple(names[:-1])
    x = images()
    assert_close(graph(x), np.asarray(model(x, training=False)))


class Standardized(kl.SeparableConv2D):
    """One whose kernels are not what its weights say."""


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Standardized(4, 3),
        lambda: kl.SeparableConv2D(4, 3, activation=kl.PReLU()),
        lambda: kl.Conv2D(4, 3),
    ],
)
def test_other_layers_stay(layer):
    model = model_of(layer())
    assert plain(model).calls == trace_model(model).calls


def test_the_layer_inside_a_spectral_normalisation_takes_its_place():
    layer = kl.SpectralNormalization(kl.Conv2D(4, 3, name="inside"), name="normalized")
    model = model_of(layer, kl.GlobalAveragePooling2D(), kl.Dense(3))
    x = images()
    # Some steps, so that the kernel is a normalised one moved by an update.
    model.compile("sgd", "mse")
    model.fit(x, np.ones((4, 3)), verbose=0)
    before = state(*model.variables)
    graph = plain(model)
    assert graph.call("normalized").op is layer.layer
    np.testing.assert_array_equal(graph(x), model(x, training=False))
    for old, new in zip(before, state(*model.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_spectral_normalisation_of_another_precision_stays():
    inside = kl.Dense(3, dtype="bfloat16")
    model = model_of(kl.Flatten(), kl.SpectralNormalization(inside))
    assert plain(model).calls[-1].op is model.layers[-1]
