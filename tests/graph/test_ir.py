"""Graphs as data: running, editing and joining them."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import SHAPE, images, small_model, state

from kgraft.graph import Ref, concat, prune, trace_model


@pytest.fixture(scope="module")
def graph():
    return trace_model(small_model("residual"))


def test_call_reads_and_makes(graph):
    add = graph.call("res0_add")
    assert add.inputs == ("stem_relu", "res0_b_norm")
    assert add.output == "res0_add"
    assert graph.call("stem").input == "input"
    with pytest.raises(ValueError, match="too many values"):
        _ = add.input


def test_call_renames_what_it_reads(graph):
    renamed = graph.call("res0_add").renamed({"stem_relu": "other"})
    assert renamed.inputs == ("other", "res0_b_norm")
    assert graph.call("res0_add").inputs == ("stem_relu", "res0_b_norm")


def test_lookup(graph):
    assert graph.producer("stem").name == "stem"
    assert graph.producer("input") is None
    assert [call.name for call in graph.consumers("stem_relu")] == ["res0_a", "res0_add"]
    with pytest.raises(KeyError, match="nothing"):
        graph.call("nothing")


def test_run_gives_every_value(graph):
    x = images()
    values = graph.run(x)
    assert set(values) == set(graph.shapes)
    np.testing.assert_array_equal(values["stem_relu"], np.maximum(values["stem_norm"], 0))
    np.testing.assert_array_equal(values[graph.output], graph(x))


def test_training_moves_statistics_only_in_training():
    graph = trace_model(small_model("batch_norm"))
    mean = graph.call("conv1_norm").op.moving_mean
    (before,) = state(mean)
    graph(images())
    np.testing.assert_array_equal(mean, before)
    graph(images(), training=True)
    assert not np.array_equal(mean, before)


def test_variables_and_parameters_are_keras_own():
    model = small_model("shared")
    model.get_layer("stem").trainable = False
    graph = trace_model(model)
    for kind in ("variables", "trainable_variables", "non_trainable_variables"):
        ours, theirs = getattr(graph, kind), getattr(model, kind)
        assert {id(v) for v in ours} == {id(v) for v in theirs}
        assert len(ours) == len(theirs)
    statistics = [v for v in model.variables if v.name.startswith("moving_")]
    assert graph.parameters == model.count_params() - sum(int(np.prod(v.shape)) for v in statistics)


def test_without_takes_a_call_out(graph):
    shorter = graph.without("stem_norm")
    assert shorter.call("stem_relu").input == "stem"
    assert len(shorter.calls) == len(graph.calls) - 1
    assert graph.without(graph.output).output == "pool"


def test_with_op_puts_another_operation_in(graph):
    x = images()
    other = graph.with_op("stem_relu", kl.Activation("tanh"))
    values = other.run(x)
    np.testing.assert_allclose(values["stem_relu"], np.tanh(values["stem_norm"]), atol=1e-6)
    assert isinstance(graph.call("stem_relu").op, kl.ReLU)


def test_prune_keeps_what_the_output_needs(graph):
    upto = prune(dataclasses.replace(graph, output="stem_norm"))
    assert [call.name for call in upto.calls] == ["stem", "stem_norm"]
    assert set(upto.shapes) == {"input", "stem", "stem_norm"}


def test_concat_numbers_names_that_are_taken():
    def piece(scale):
        image = keras.Input((4,))
        x = kl.Rescaling(scale, name="scale")(image)
        return trace_model(keras.Model(image, kl.Rescaling(2.0, name="last")(x)))

    joined = concat((piece(3.0), piece(5.0), piece(7.0)))
    assert [call.name for call in joined.calls] == [
        "scale",
        "last",
        "scale#2",
        "last#2",
        "scale#3",
        "last#3",
    ]
    assert [call.input for call in joined.calls[:3]] == ["input", "scale", "last"]
    assert joined.output == "last#3"
    np.testing.assert_array_equal(joined(np.ones([1, 4], "float32")), np.full([1, 4], 840.0))


def test_concat_of_a_piece_without_calls(graph):
    empty = dataclasses.replace(graph, output=graph.input, calls=())
    joined = concat((empty, graph, trace_model(_identity((5,))).without("same")))
    x = images()
    np.testing.assert_array_equal(joined(x), graph(x))


def _identity(shape):
    image = keras.Input(shape)
    return keras.Model(image, kl.Identity(name="same")(image))


def test_concat_refuses_shapes_that_do_not_fit(graph):
    with pytest.raises(ValueError, match=r"input takes \(None, 12, 12, 3\); got \(None, 5\)"):
        concat((graph, graph))


def test_refs_stand_for_tensors_only():
    image = keras.Input(SHAPE)
    graph = trace_model(keras.Model(image, keras.ops.maximum(image * 2.0, 0.5)))
    multiply, maximum = graph.calls
    assert multiply.args == (Ref("input"), 2.0)
    assert maximum.args == (Ref(multiply.name), 0.5)
