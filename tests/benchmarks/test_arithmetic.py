"""What the benchmarks count and fit, against figures worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from benchmarks import arithmetic
from kgraft.graph import trace_model

# A 3x3 kernel padded to "same" on 4 pixels: 2 of 3 taps inside at each border, 3 between.
INSIDE_4 = 2 + 3 + 3 + 2
CONV = 4 * 4 * 9 * 3 * 5
SECOND = 4 * 4 * 9 * 5 * 6
DENSE = 4 * 4 * 6 * 7
SHARE = INSIDE_4**2 / 12**2


def conv_graph(channels, filters, *, padding="same"):
    x = keras.Input((4, 4, channels))
    return trace_model(keras.Model(x, kl.Conv2D(filters, 3, padding=padding)(x)))


def dense_graph():
    x = keras.Input((4, 4, 6))
    return trace_model(keras.Model(x, kl.Dense(7)(kl.Flatten()(kl.ReLU()(x)))))


def test_a_trained_layer_counts_three_times_and_the_first_one_twice():
    span = [conv_graph(3, 5), conv_graph(5, 6)]
    assert arithmetic.step_macs(span, []) == 2 * CONV + 3 * SECOND


def test_a_frozen_layer_behind_the_span_counts_twice():
    found = arithmetic.step_macs([conv_graph(3, 5)], [conv_graph(5, 6), dense_graph()])
    assert found == 2 * CONV + 2 * SECOND + 2 * DENSE


def test_frozen_layers_in_front_of_what_trains_count_once():
    span = conv_graph(3, 5)
    span.layers[0].trainable = False
    assert arithmetic.step_macs([span, conv_graph(5, 6)], []) == CONV + 2 * SECOND


def test_both_layers_that_read_the_spans_entry_count_twice():
    x = keras.Input((4, 4, 3))
    both = kl.Add()([kl.Conv2D(5, 3, padding="same")(x), kl.Conv2D(5, 1)(x)])
    graph = trace_model(keras.Model(x, both))
    assert arithmetic.step_macs([graph], []) == 2 * CONV + 2 * (4 * 4 * 3 * 5)


def test_products_with_zero_padding_can_be_left_out():
    found = arithmetic.step_macs([conv_graph(3, 5)], [dense_graph()], padding=False)
    assert found == 2 * round(CONV * SHARE) + 2 * DENSE


def test_without_padding_every_product_is_inside():
    span = [conv_graph(3, 5, padding="valid")]
    whole = arithmetic.step_macs(span, [])
    assert arithmetic.step_macs(span, [], padding=False) == whole


@pytest.mark.parametrize(
    ("size", "taps", "stride", "dilation"),
    [
        (4, 3, 1, 1),
        (2, 3, 1, 1),
        (1, 3, 1, 1),
        (8, 3, 2, 1),
        (7, 5, 2, 1),
        (9, 3, 1, 2),
        (5, 1, 2, 1),
    ],
)
def test_taps_inside_are_what_a_convolution_of_ones_adds_up(size, taps, stride, dilation):
    ones = np.ones((1, size, 1), "float32")
    conv = kl.Conv1D(
        1, taps, stride, "same", dilation_rate=dilation, kernel_initializer="ones", use_bias=False
    )
    made = np.asarray(conv(ones))
    found = arithmetic.taps_inside(size, made.shape[1], taps=taps, stride=stride, dilation=dilation)
    assert found == made.sum()


def test_peak_fraction():
    found = arithmetic.peak_fraction(macs=3e9, seconds=0.1, operations_per_second=120e9)
    assert found == pytest.approx(0.5)


def test_ratios_of_every_pair():
    times = {"old": 6.0, "new": 2.0, "newer": 1.5}
    found = arithmetic.ratios(times, of={"ratio": "old"}, to={"n": "new", "nn": "newer"})
    assert found == {"ratio_n": 3.0, "ratio_nn": 4.0}


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(exponent):
    xs = [1, 2, 5, 11]
    found = arithmetic.fitted_exponent(xs, [3 * x**exponent for x in xs])
    assert found == pytest.approx(exponent, abs=1e-12)
