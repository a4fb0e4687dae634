"""Logits of teachers that end in every kind of softmax, and in none."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import SHAPE, assert_close, conv, ends_with, images, state, trained

from kgraft.errors import KgraftError
from kgraft.graph import as_model, logits_graph, trace_model


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def nested_head(layer):
    inside = keras.Input((8,))
    return keras.Model(inside, layer(inside), name="head")


ENDINGS = {
    "activation of the last layer": (
        lambda: [kl.Dense(5, activation="softmax", name="out")],
        "softmax of 'out' taken off",
    ),
    "activation layer": (
        lambda: [kl.Dense(5, name="out"), kl.Activation("softmax", name="soft")],
        "softmax 'soft' taken off",
    ),
    "softmax layer": (
        lambda: [kl.Dense(5, name="out"), kl.Softmax(name="soft")],
        "softmax 'soft' taken off",
    ),
    "softmax layer, then reshaped": (
        lambda: [
            kl.Dense(5, name="out"),
            kl.Reshape((1, 5), name="row"),
            kl.Softmax(name="soft"),
            kl.Flatten(name="flat"),
            kl.Dropout(0.5),
        ],
        "softmax 'soft' taken off",
    ),
    "nested head": (
        lambda: [nested_head(kl.Dense(5, activation="softmax", name="out"))],
        "softmax of 'head/out' taken off",
    ),
    "convolution, then flattened": (
        lambda: [
            kl.Reshape((1, 1, 8)),
            kl.Conv2D(5, 1, activation="softmax", name="out"),
            kl.Flatten(),
        ],
        "softmax of 'out' taken off",
    ),
}


@pytest.mark.parametrize("outputs", ["auto", "probabilities"])
@pytest.mark.parametrize(("layers", "done"), ENDINGS.values(), ids=ENDINGS)
def test_softmax_is_taken_off(layers, done, outputs):
    model = ends_with(*layers())
    x = images()
    before = state(*model.variables)
    probabilities = np.asarray(model(x, training=False))
    graph, note = logits_graph(trace_model(model), outputs)
    assert note == done
    logits = np.asarray(graph(x))
    assert logits.min() < 0
    assert_close(softmax(logits), probabilities)
    np.testing.assert_array_equal(model(x, training=False), probabilities)
    for old, new in zip(before, state(*model.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_softmax_operation_is_taken_off():
    inner = ends_with(kl.Dense(5, name="out"))
    model = keras.Model(inner.inputs, keras.ops.softmax(inner.outputs[0]))
    graph, note = logits_graph(trace_model(model))
    assert note.startswith("softmax 'softmax")
    np.testing.assert_array_equal(graph(images()), inner(images(), training=False))


def test_logits_graph_becomes_a_model(tmp_path):
    model = ends_with(kl.Dense(5, activation="softmax", name="out"))
    graph, _ = logits_graph(trace_model(model))
    as_model(graph, name="logits").save(tmp_path / "logits.keras")
    loaded = keras.models.load_model(tmp_path / "logits.keras")
    np.testing.assert_array_equal(loaded(images(), training=False), graph(images()))


def test_logits_stay(small_teacher):
    graph = trace_model(small_teacher)
    assert logits_graph(graph) == (graph, "the output is logits")


def test_outputs_may_be_declared_logits():
    graph = trace_model(ends_with(kl.Dense(5, activation="softmax")))
    assert logits_graph(graph, "logits") == (graph, "the output is taken as logits, as told")


class Normalised(kl.Layer):
    """Probabilities by other means than a softmax."""

    def call(self, x):
        x = keras.ops.square(x) + 0.1
        return x / keras.ops.sum(x, axis=-1, keepdims=True)


def test_probabilities_without_a_softmax_are_refused_with_what_to_do():
    graph = trace_model(ends_with(kl.Dense(5), Normalised(name="squares")))
    with pytest.raises(KgraftError) as error:
        logits_graph(graph)
    assert str(error.value) == (
        "the teacher's output (made by 'squares') looks like probabilities, but no softmax was "
        "found to take off: give --teacher_outputs=probabilities (their logarithm is used) or "
        "--teacher_outputs=logits"
    )


class OwnDense(kl.Dense):
    """A layer of a user's own, whose `build` calls its shape something else."""

    def build(self, shape):
        super().build(shape)


class OwnSoftmax(kl.Layer):
    """One that has its softmax, but not among its settings."""

    activation = staticmethod(keras.activations.softmax)

    def call(self, x):
        return self.activation(x)


def test_the_softmax_of_a_users_own_layer():
    model = ends_with(OwnDense(5, activation="softmax", name="out"))
    graph, note = logits_graph(trace_model(model))
    assert note == "softmax of 'out' taken off"
    np.testing.assert_allclose(softmax(np.asarray(graph(images()))), model(images()), atol=1e-6)
    with pytest.raises(KgraftError, match=r"'own'.* looks like probabilities"):
        logits_graph(trace_model(ends_with(kl.Dense(5), OwnSoftmax(name="own"))))


@pytest.mark.parametrize(
    "layers",
    [[kl.Dense(5, "sigmoid", name="s")], [kl.Dense(5), kl.Activation("sigmoid", name="s")]],
)
def test_a_network_of_several_classes_an_image(layers):
    graph = trace_model(ends_with(*layers))
    with pytest.raises(KgraftError, match=r"ends in a sigmoid \('s'\), .*_outputs=logits"):
        logits_graph(graph)
    assert logits_graph(graph, "logits")[0] is graph


class Sigmoid(kl.Layer):
    """The operation, not a layer that Keras knows as one."""

    def call(self, x):
        return keras.ops.sigmoid(x)


TWO = ", and of the logit z made two, 4 - z/2 and 4 + z/2"
SINGLE = {
    "activation of the last layer": lambda: [kl.Dense(1, activation="sigmoid", name="out")],
    "activation layer": lambda: [kl.Dense(1, name="out"), kl.Activation("sigmoid", name="s")],
    "nested head": lambda: [nested_head(kl.Dense(1, activation="sigmoid", name="out"))],
    "without a bias": lambda: [kl.Dense(1, "sigmoid", use_bias=False, name="out")],
    "a name of ours": lambda: [kl.Dense(1, "sigmoid", name="two_logits"), kl.Reshape((1,))],
    "convolution, then flattened": lambda: [
        kl.Reshape((1, 1, 8)),
        kl.Conv2D(1, 1, activation="sigmoid", name="out"),
        kl.Flatten(),
    ],
}


def check_two_logits(graph, model):
    p = np.asarray(model(images(), training=False))
    assert graph.output_shape == (None, 2)
    assert 0.01 < p.min() < p.max() < 0.99
    assert_close(softmax(np.asarray(graph(images()))), np.hstack([1 - p, p]))


@pytest.mark.parametrize("outputs", ["auto", "probabilities"])
@pytest.mark.parametrize("layers", SINGLE.values(), ids=SINGLE)
def test_of_one_sigmoid_two_logits_are_made(layers, outputs, tmp_path):
    model = ends_with(*layers())
    graph, note = logits_graph(trace_model(model), outputs)
    assert note.startswith("sigmoid ") and note.endswith(f" taken off{TWO}")
    check_two_logits(graph, model)
    as_model(graph, name="m").save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(images()), graph(images()))


def test_two_logits_are_those_of_one_dense_layer_where_that_ends_the_network():
    """A cut between the logit and its two would have one channel."""
    model = ends_with(kl.Dense(1, "sigmoid", name="out"))
    graph = trace_model(model)
    made, _ = logits_graph(graph)
    assert [call.name for call in made.calls] == [call.name for call in graph.calls]
    assert made.shapes["out"] == (None, 2) and graph.shapes["out"] == (None, 1)
    assert made.parameters - graph.parameters == 9
    assert model.get_layer("out").units == 1


def test_of_one_sigmoid_operation_two_logits_are_made():
    inner = ends_with(kl.Dense(1, name="out"))
    model = keras.Model(inner.inputs, keras.ops.sigmoid(inner.outputs[0]))
    check_two_logits(logits_graph(trace_model(model))[0], model)


def test_one_output_without_a_sigmoid_has_to_be_told_a_logit():
    model = ends_with(kl.Dense(1, name="out"))
    for outputs in ("auto", "probabilities"):
        with pytest.raises(KgraftError) as error:
            logits_graph(trace_model(model), outputs)
        assert str(error.value) == (
            "the teacher has one output, and no sigmoid was found to take off: expected one for "
            "each class, or a sigmoid's, as it may be a regression; give --teacher_outputs=logits "
            "if it is the logit of a binary classifier, whose sign is the class"
        )
    graph, note = logits_graph(trace_model(model), "logits")
    assert note == f"the output is taken as a logit, as told{TWO}"
    z = np.asarray(model(images(), training=False))
    np.testing.assert_allclose(graph(images()), np.hstack([4 - z / 2, 4 + z / 2]), rtol=1e-6)
    with pytest.raises(KgraftError, match="no sigmoid was found to take off"):
        logits_graph(trace_model(ends_with(kl.Dense(1), Sigmoid())))


def test_one_sigmoid_is_no_logit():
    """It is never below 0: every image would be of the second class."""
    graph = trace_model(ends_with(kl.Dense(1, "sigmoid")))
    with pytest.raises(KgraftError, match=r"=logits: .* a sigmoid's, which --teacher_outputs=auto"):
        logits_graph(graph, "logits")


def test_logarithm_of_declared_probabilities():
    model = ends_with(kl.Dense(5), Normalised(name="squares"))
    graph, note = logits_graph(trace_model(model), "probabilities")
    assert note == "logits are the logarithm of the probabilities"
    x = images()
    np.testing.assert_allclose(graph(x), np.log(model(x, training=False)), rtol=1e-5)
    assert graph.output_shape == (None, 5)


def test_logarithm_round_trips(tmp_path):
    graph, _ = logits_graph(trace_model(ends_with(kl.Dense(5, "sigmoid"))), "probabilities")
    as_model(graph, name="m").save(tmp_path / "m.keras")
    # Without a class of ours: who has the file may not have kgraft.
    assert not [layer for layer in graph.layers if "keras" not in type(layer).__module__]
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(images()), graph(images()))


def test_other_outputs_are_refused():
    image = keras.Input(SHAPE)
    graph = trace_model(trained(keras.Model(image, conv(image, 4, name="conv"))))
    with pytest.raises(KgraftError) as error:
        logits_graph(graph)
    assert str(error.value) == (
        "expected a teacher whose output is [batch, classes]; got (None, 12, 12, 4)"
    )
