"""From Keras models to graphs."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import SHAPE, images, small_model, state

from kgraft.errors import KgraftError
from kgraft.graph import trace_model


def test_graph_runs_as_the_model_does(small_teacher):
    x = images()
    before = state(*small_teacher.variables)
    graph = trace_model(small_teacher)
    np.testing.assert_array_equal(graph(x), small_teacher(x, training=False))
    assert {id(v) for v in graph.variables} == {id(v) for v in small_teacher.variables}
    for old, new in zip(before, state(*small_teacher.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_graph_runs_as_the_real_architecture_does(application):
    x = images(2, application.input_shape[1:])
    np.testing.assert_array_equal(trace_model(application)(x), application(x, training=False))


def test_shapes_are_those_of_the_values(small_teacher):
    graph = trace_model(small_teacher)
    for name, value in graph.run(images(3)).items():
        assert graph.shapes[name] == (None, *value.shape[1:]), name


def test_nested_models_become_paths():
    graph = trace_model(small_model("nested"))
    names = [call.name for call in graph.calls]
    assert names[:4] == ["stage0/conv1", "stage0/conv1_norm", "stage0/conv1_relu", "stage0/conv2"]
    assert names[-1] == "head/out"
    assert not any(isinstance(layer, keras.Model) for layer in graph.layers)


def test_shared_layers_are_numbered_and_stay_one():
    graph = trace_model(small_model("shared"))
    assert graph.call("twice").op is graph.call("twice#2").op
    assert graph.call("cell/conv1").op is graph.call("cell#2/conv1").op


def test_training_baked_into_a_nested_model_is_kept():
    model = small_model("nested")
    graph = trace_model(model)
    assert graph.call("stage1/conv1_norm").kwargs["training"] is False
    assert "training" not in graph.call("stage0/conv1_norm").kwargs
    frozen, free = (graph.call(f"stage{i}/conv1_norm").op for i in (1, 0))
    before = state(frozen.moving_mean, free.moving_mean)
    graph(images(), training=True)
    np.testing.assert_array_equal(frozen.moving_mean, before[0])
    assert not np.array_equal(free.moving_mean, before[1])


def test_a_layer_named_input_is_no_input():
    image = keras.Input(SHAPE)
    graph = trace_model(keras.Model(image, kl.Flatten(name="input")(image)))
    assert (graph.input, graph.output) == ("input", "input#2")


def test_calls_that_the_output_does_not_need_are_left_out():
    image = keras.Input(SHAPE)
    inside = keras.Input(SHAPE)
    both = keras.Model(inside, [kl.ReLU(name="used")(inside), kl.ELU(name="unused")(inside)])
    graph = trace_model(keras.Model(image, both(image)[0]))
    assert [call.op.name for call in graph.calls] == ["used"]


def test_several_outputs_of_one_layer():
    image = keras.Input(SHAPE)
    parts = keras.ops.split(image, 3, axis=-1)
    model = keras.Model(image, kl.Concatenate()([parts[2], parts[0]]))
    graph = trace_model(model)
    split = graph.calls[0].name
    assert graph.calls[1].inputs == (f"{split}:2", split)
    x = images()
    np.testing.assert_array_equal(graph(x), x[..., [2, 0]])


class Subclassed(keras.Model):
    def call(self, x):
        return x


class SubclassedFunctional(keras.Model):
    """Functional by its constructor, but with a `call` that no graph shows."""

    def __init__(self):
        image = keras.Input(SHAPE)
        super().__init__(image, kl.Flatten()(image))

    def call(self, x):
        return super().call(x) * 2.0


@pytest.mark.parametrize(
    "make", [Subclassed, SubclassedFunctional, lambda: keras.Sequential([kl.Flatten()])]
)
def test_a_model_without_a_readable_graph_is_refused(make):
    model = make()
    with pytest.raises(KgraftError) as error:
        trace_model(model)
    assert str(error.value) == (
        f"expected a Keras functional (or built Sequential) model; {model.name!r} is a "
        f"{type(model).__name__} whose graph cannot be read: rebuild it with "
        "keras.Model(inputs, outputs)"
    )


def test_several_inputs_or_outputs_are_refused():
    one, two = keras.Input(SHAPE, name="one"), keras.Input(SHAPE, name="two")
    with pytest.raises(KgraftError) as error:
        trace_model(keras.Model([one, two], kl.Add()([one, two]), name="pair"))
    assert str(error.value) == (
        "expected a model with one input; 'pair' has 2 (one, two): build one with a single input"
    )
    with pytest.raises(KgraftError, match="expected a model with one output; 'fork' has 2"):
        trace_model(keras.Model(one, [kl.ReLU()(one), kl.ELU()(one)], name="fork"))


def test_inference_is_inference_whatever_the_model_has_baked_in():
    image = keras.Input(SHAPE)
    x = kl.BatchNormalization(name="norm")(image, training=True)
    model = keras.Model(image, kl.Dropout(0.5)(x, training=True))
    graph, before = trace_model(model), state(*model.layers[1].weights)
    found = graph(images())
    np.testing.assert_array_equal(found, model(images(), training=False))
    for weight, was in zip(model.layers[1].weights, before, strict=True):
        np.testing.assert_array_equal(weight, was)
