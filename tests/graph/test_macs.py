"""Multiply-adds against counts by hand and published ones."""

import keras
import pytest
from keras import layers as kl
from small_models import small_model

from kgraft.graph import count_macs, total_macs, trace_model


def macs_of(layer, shape):
    image = keras.Input(shape)
    return total_macs(trace_model(keras.Model(image, layer(image))))


@pytest.mark.parametrize(
    ("layer", "shape", "wanted"),
    [
        (lambda: kl.Conv2D(4, 3, padding="same"), (8, 6, 3), 8 * 6 * 9 * 3 * 4),
        (lambda: kl.Conv2D(4, 3), (8, 6, 3), 6 * 4 * 9 * 3 * 4),
        (lambda: kl.Conv2D(4, 3, strides=2, padding="same"), (8, 6, 3), 4 * 3 * 9 * 3 * 4),
        (lambda: kl.Conv2D(4, 3, padding="same", groups=2), (8, 6, 6), 8 * 6 * 9 * 3 * 4),
        (lambda: kl.DepthwiseConv2D(3, padding="same"), (8, 6, 3), 8 * 6 * 9 * 3),
        (
            lambda: kl.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            (8, 6, 3),
            8 * 6 * 9 * 3 * 2,
        ),
        (
            lambda: kl.SeparableConv2D(4, 3, padding="same"),
            (8, 6, 3),
            8 * 6 * 9 * 3 + 8 * 6 * 3 * 4,
        ),
        (lambda: kl.Conv2DTranspose(4, 3, padding="same", strides=2), (8, 6, 3), 48 * 9 * 3 * 4),
        (lambda: kl.Conv1D(4, 3, padding="same"), (8, 3), 8 * 3 * 3 * 4),
        (lambda: kl.DepthwiseConv1D(3, padding="same"), (8, 3), 8 * 3 * 3),
        (lambda: kl.SeparableConv1D(4, 3, padding="same"), (8, 3), 8 * 3 * 3 + 8 * 3 * 4),
        (lambda: kl.EinsumDense("abc,cd->abd", (8, 4)), (8, 6), 8 * 6 * 4),
        (lambda: kl.EinsumDense("abc,cde->abde", (8, 2, 5)), (8, 6), 8 * 6 * 2 * 5),
        (lambda: kl.EinsumDense("abcd,cde->abe", (8, 7)), (8, 2, 5), 8 * 2 * 5 * 7),
        (lambda: kl.EinsumDense("...x,xy->...y", 4), (3, 8, 6), 3 * 8 * 6 * 4),
        (lambda: kl.Dense(4), (6,), 6 * 4),
        (lambda: kl.Dense(4), (8, 6), 8 * 6 * 4),
        (lambda: kl.SpectralNormalization(kl.Conv2D(4, 3)), (8, 6, 3), 6 * 4 * 9 * 3 * 4),
        (lambda: kl.TimeDistributed(kl.Conv2D(4, 3)), (5, 8, 6, 3), 5 * 6 * 4 * 9 * 3 * 4),
        (
            lambda: kl.TimeDistributed(kl.EinsumDense("abc,cd->abd", (8, 4))),
            (5, 8, 6),
            5 * 8 * 6 * 4,
        ),
        (lambda: kl.BatchNormalization(), (8, 6, 3), 0),
        (lambda: kl.MaxPooling2D(), (8, 6, 3), 0),
    ],
)
def test_one_layer(layer, shape, wanted):
    assert macs_of(layer(), shape) == wanted


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("width", [None, 5], ids=["as_keys", "own"])
def test_attention(width, by_name):
    """By its projections, and two products of every place that asks with every one asked."""
    asks, asked = keras.Input((7, 6)), 9
    values = kl.Dense(4)(kl.Reshape((asked, 6))(kl.Dense(asked * 6)(kl.Flatten()(asks))))
    layer = kl.MultiHeadAttention(2, 3, value_dim=width, name="attention")
    made = layer(key=values, query=asks, value=values) if by_name else layer(asks, values)
    macs = count_macs(trace_model(keras.Model(asks, made)))
    each = width or 3
    wanted = 7 * 6 * 2 * 3 + asked * 4 * 2 * (3 + each) + 7 * 2 * each * 6
    assert macs["attention"] == wanted + 7 * asked * 2 * (3 + each)


def test_each_use_of_a_shared_layer_counts():
    macs = count_macs(trace_model(small_model("shared")))
    assert macs["twice"] == 12 * 12 * 9 * 8 * 8
    assert macs["twice#2"] == 6 * 6 * 9 * 8 * 8


def test_nested_models_count_at_the_size_they_are_used_at():
    macs = count_macs(trace_model(small_model("nested")))
    assert macs["stage0/conv1"] == 12 * 12 * 9 * 3 * 8
    assert macs["stage1/conv1"] == 6 * 6 * 9 * 8 * 12


def test_published_counts():
    mobilenet = keras.applications.MobileNetV2(weights=None)
    assert total_macs(trace_model(mobilenet)) == 300_774_272
    vgg = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    assert total_macs(trace_model(vgg)) == 15_346_630_656
