"""What the layers of a body are fitted to."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import FACTORIES, assert_close, conv, images, small_model

from kgraft.graph import clone_graph, fold_batch_norm, trace_model
from kgraft.students.blueprint import (
    before_activation,
    fits_of,
    split_activations,
    sums_fed,
    sums_last,
    take,
    whole,
)


def pattern(model):
    return fold_batch_norm(clone_graph(trace_model(model), trainable=True))[0]


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_a_split_graph_computes_the_same(name):
    model = small_model(name)
    graph = sums_last(split_activations(pattern(model)))
    assert_close(graph(images()), np.asarray(model(images(), training=False)), tolerance=1e-4)


def test_what_is_before_an_activation_has_a_name():
    graph = pattern(small_model("plain"))
    split = split_activations(graph)
    assert before_activation(split, "conv1") == "conv1:linear"
    assert before_activation(split, "logits") == "logits"
    values = split.run(images())
    np.testing.assert_allclose(np.maximum(values["conv1:linear"], 0), values["conv1"])
    assert (np.asarray(values["conv1:linear"]) < 0).any()


def test_the_deepest_layer_is_fitted_to_a_sum():
    graph = pattern(small_model("residual"))
    wanted = {f"res{index}_b": f"res{index}_add" for index in range(3)}
    assert {name: call.name for name, call in sums_fed(graph).items()} == wanted


def test_a_layer_with_other_readers_or_an_activation_is_fitted_to_its_own_output():
    image = keras.Input((6, 6, 4))
    a = conv(image, 4, name="a")
    b = conv(a, 4, name="b", activation="relu")
    x = kl.Add(name="sum")([a, b])
    assert not sums_fed(pattern(keras.Model(image, x)))
    fits = fits_of(pattern(keras.Model(image, x)), lambda value: ((value, np.arange(4)),))
    assert [(fit.call, fit.value) for fit in fits] == [("a", "a"), ("b", "b")]


def test_a_layer_fitted_to_a_sum_runs_last():
    image = keras.Input((6, 6, 4))
    main = conv(conv(image, 4, name="a", activation="relu"), 4, name="b")
    x = kl.Add(name="sum")([main, conv(image, 4, 1, name="shortcut")])
    graph = pattern(keras.Model(image, x))
    early = sorted(graph.calls, key=lambda call: ("a", "b", "shortcut", "sum").index(call.name))
    names = [call.name for call in sums_last(dataclasses.replace(graph, calls=early)).calls]
    assert names == ["a", "shortcut", "b", "sum"]


def test_a_shared_layer_is_fitted_once():
    fits = fits_of(pattern(small_model("shared")), lambda value: ((value, np.arange(1)),))
    calls = [fit.call for fit in fits]
    assert "twice" in calls
    assert not any("#" in call for call in calls)


def test_parts_of_what_stays():
    parts = (("a", np.array([0, 2, 4])), ("b", np.array([1, 3])))
    taken = take(parts, np.array([1, 2, 4]))
    assert [value for value, _ in taken] == ["a", "b"]
    np.testing.assert_array_equal(taken[0][1], [2, 4])
    np.testing.assert_array_equal(taken[1][1], [3])
    assert [value for value, _ in take(parts, np.array([3]))] == ["b"]


def test_the_whole_of_a_value():
    graph = pattern(small_model("plain"))
    ((value, channels),) = whole(graph, "conv1")
    assert value == "conv1"
    np.testing.assert_array_equal(channels, np.arange(8))
