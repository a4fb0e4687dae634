"""Inference copies compute what the graph computes, with layers of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl

from kgraft.graph import (
    find_cuts,
    frozen_chain,
    frozen_graph,
    logits_graph,
    split_chain,
    trace_model,
)
from kgraft.graph.frozen import WholeMapConv
from tests.small_models import assert_close, conv, images, small_model, state, trained

NAMES = ("plain", "residual", "batch_norm", "depthwise", "nested", "shared", "squeeze_excite")


@pytest.mark.parametrize("name", NAMES)
def test_frozen_graph_is_the_graph(name):
    graph = trace_model(small_model(name))
    assert_close(frozen_graph(graph)(images()), np.asarray(graph(images())))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_to_the_input_are_the_graphs(name):
    graph = trace_model(small_model(name))

    def gradient(of):
        x = tf.constant(images())
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.square(of(x)))
        return np.asarray(tape.gradient(y, x))

    assert_close(gradient(frozen_graph(graph)), gradient(graph))


def test_original_is_untouched_and_shares_no_variable():
    graph = trace_model(small_model("batch_norm"))
    before = state(*graph.variables)
    frozen = frozen_graph(graph)
    assert not {id(v) for v in graph.variables} & {id(v) for v in frozen.variables}
    assert not frozen.trainable_variables
    for old, new in zip(before, state(*graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_norm_and_dropout_are_gone():
    x = image = keras.Input([8, 8, 3])
    x = kl.BatchNormalization()(kl.Conv2D(4, 3, use_bias=False)(x))
    x = kl.Dense(5)(kl.Flatten()(kl.Dropout(0.5)(kl.ReLU()(x))))
    graph = trace_model(trained(keras.Model(image, x)))
    kinds = {type(layer) for layer in frozen_graph(graph).layers}
    assert not kinds & {kl.BatchNormalization, kl.Dropout}


def _conv_graph(size, options):
    image = keras.Input([*size, 3])
    return trace_model(trained(keras.Model(image, kl.Conv2D(4, **options)(image))))


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
    activation=st.sampled_from([None, "relu"]),
    bias=st.booleans(),
)
def test_whole_map_product_is_the_convolution(size, kernel, strides, padding, activation, bias):
    if padding == "valid":
        size = tuple(max(s, k) for s, k in zip(size, kernel, strict=True))
    options = {"kernel_size": kernel, "strides": strides, "padding": padding}
    graph = _conv_graph(size, {**options, "activation": activation, "use_bias": bias})
    frozen = frozen_graph(graph)
    assert_close(frozen(images(4, (*size, 3))), np.asarray(graph(images(4, (*size, 3)))))
    smaller = size[0] * size[1] < kernel[0] * kernel[1]
    assert isinstance(frozen.layers[0], WholeMapConv) == smaller


@pytest.mark.parametrize("options", [{"groups": 3}, {"dilation_rate": 2}])
def test_groups_and_dilations(options):
    image = keras.Input([2, 2, 3])
    graph = trace_model(
        trained(keras.Model(image, kl.Conv2D(6, 3, padding="same", **options)(image)))
    )
    frozen = frozen_graph(graph)
    assert_close(frozen(images(4, (2, 2, 3))), np.asarray(graph(images(4, (2, 2, 3)))))
    assert isinstance(frozen.layers[0], WholeMapConv) == ("groups" not in options)


def test_a_matrix_too_large_to_gain_stays_a_convolution():
    image = keras.Input([2, 2, 1024])
    graph = trace_model(keras.Model(image, kl.Conv2D(1024, 3, padding="same")(image)))
    assert not isinstance(frozen_graph(graph).layers[0], WholeMapConv)


def test_frozen_chain_is_the_chain():
    graph = trace_model(small_model("residual"))
    chain = split_chain(graph, find_cuts(graph)[1:3])
    frozen = frozen_chain(chain)
    assert frozen.cuts == chain.cuts
    x = y = images()
    for ours, theirs in zip(frozen.blocks, chain.blocks, strict=True):
        x, y = ours.graph(x), theirs.graph(y)
        assert_close(x, np.asarray(y))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_close_and_its_logits_are_float32(name):
    graph = trace_model(small_model(name))
    wanted = np.asarray(graph(images()))
    got = frozen_graph(graph, dtype="bfloat16")(images())
    assert got.dtype == tf.float32
    # Processors round differently, and the worst of few logits says little.
    assert np.linalg.norm(np.asarray(got) - wanted) < 0.05 * np.linalg.norm(wanted)
    assert np.abs(np.asarray(got) - wanted).max() > 0


@pytest.mark.parametrize(
    "close",
    [
        lambda x: kl.Dense(5, name="logits")(kl.GlobalAveragePooling2D()(x)),
        lambda x: kl.Flatten()(kl.Conv2D(5, 6, name="logits")(x)),
        lambda x: kl.Activation("linear")(kl.Reshape((5,))(kl.Conv2D(5, 6, name="logits")(x))),
        lambda x: kl.Dropout(0.5)(kl.Dense(5, name="logits")(kl.Flatten()(x))),
    ],
)
def test_what_makes_the_logits_is_exact_whatever_comes_behind_it(close):
    """MobileNet's classifier is a convolution, and what ends the network reshapes its output."""
    image = keras.Input((6, 6, 3))
    graph = trace_model(trained(keras.Model(image, close(conv(image, 4, name="conv")))))
    found = frozen_graph(graph, dtype="bfloat16")
    logits, first = found.call("logits").op, found.call("conv").op
    assert (first.compute_dtype, logits.compute_dtype) == ("bfloat16", "float32")
    assert found(images(4, (6, 6, 3))).dtype == tf.float32


def test_the_logarithm_of_probabilities_is_exact():
    """It is no layer and computes in the type of what comes in, here from a layer's sigmoid."""
    image = keras.Input((6, 6, 3))
    x = kl.GlobalAveragePooling2D()(conv(image, 4, name="conv"))
    model = trained(keras.Model(image, kl.Dense(5, "sigmoid", name="shares")(x)))
    graph, _ = logits_graph(trace_model(model), "probabilities")
    found = frozen_graph(graph, dtype="bfloat16")
    assert found(images(4, (6, 6, 3))).dtype == tf.float32
    assert found.call("shares").op.compute_dtype == "float32"
    assert found.call("conv").op.compute_dtype == "bfloat16"
