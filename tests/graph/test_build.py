"""Graphs turned into layers of their own and into flat Keras models."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import SHAPE, assert_close, images, small_model, state

from kgraft.graph import (
    as_model,
    clone_built,
    clone_graph,
    clone_op,
    copy_weights,
    rebuild,
    thawed,
    trace_model,
)


def test_clone_has_its_own_weights(small_teacher):
    x = images()
    graph = trace_model(small_teacher)
    before = state(*graph.variables)
    clone = clone_graph(graph, trainable=True)
    np.testing.assert_array_equal(clone(x), graph(x))
    assert not {id(v) for v in clone.variables} & {id(v) for v in graph.variables}
    assert clone.parameters == graph.parameters
    assert dict(clone.shapes) == dict(graph.shapes)
    for variable in clone.variables:
        variable.assign(variable + 1.0)
    for old, new in zip(before, state(*graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_clone_trains_or_not():
    graph = trace_model(small_model("batch_norm"))
    assert len(clone_graph(graph, trainable=True).trainable_variables) == 11
    assert clone_graph(graph, trainable=False).trainable_variables == []
    assert len(graph.trainable_variables) == 11


def test_what_a_call_froze_learns_from_batches_once_it_is_thawed():
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, keras.layers.BatchNormalization()(image, training=False))
    x = images(4, (6, 6, 3)) * 5 + 2
    kept = clone_graph(trace_model(model), trainable=True)
    np.testing.assert_allclose(kept(x, training=True), kept(x), atol=1e-6)
    free = thawed(clone_graph(trace_model(model), trainable=True))
    np.testing.assert_array_equal(free(x), kept(x))
    np.testing.assert_allclose(np.mean(free(x, training=True), (0, 1, 2)), 0, atol=1e-4)
    assert np.any(free.layers[0].moving_mean)


def test_clones_of_layers_with_one_name_have_names_of_their_own():
    clone = clone_graph(trace_model(small_model("nested")), trainable=True)
    names = [layer.name for layer in clone.layers]
    assert len(set(names)) == len(names)
    assert {"stage0_conv1", "stage1_conv1"} <= set(names)


def test_shared_layers_stay_shared():
    clone = clone_graph(trace_model(small_model("shared")), trainable=True)
    assert clone.call("twice").op is clone.call("twice#2").op
    assert clone.call("cell/conv1").op is clone.call("cell#2/conv1").op


def test_rebuild_takes_another_input_shape():
    graph = trace_model(small_model("residual"))
    other = rebuild(graph, lambda call: clone_op(call.op), input_shape=(None, 20, 16, 5))
    assert other.shapes["res2_out"] == (None, 10, 8, 12)
    assert tuple(other.call("stem").op.kernel.shape) == (3, 3, 5, 8)
    assert other(images(2, (20, 16, 5))).shape == (2, 5)


def test_what_weights_begin_as():
    graph = trace_model(small_model("batch_norm"))
    for blank in (False, True):
        made = rebuild(graph, lambda call: clone_op(call.op), blank=blank)
        kernels = [layer.kernel for layer in made.layers if hasattr(layer, "kernel")]
        assert kernels and not any(np.any(kernel) == blank for kernel in kernels)
        for old, new in zip(graph.layers, made.layers, strict=True):
            assert new.get_config() == old.get_config()


def test_copy_weights_makes_two_graphs_agree():
    one, two = (trace_model(small_model("concatenation", seed)) for seed in (0, 1))
    x = images()
    assert not np.allclose(one(x), two(x))
    copy_weights(one, two)
    np.testing.assert_array_equal(one(x), two(x))


def test_clone_op_sets_what_it_is_told():
    layer = kl.Conv2D(4, 3, name="conv")
    layer.build((None, 8, 8, 3))
    clone = clone_op(layer, name="other", filters=2)
    assert (clone.name, clone.filters, clone.kernel_size, clone.built) == (
        "other",
        2,
        (3, 3),
        False,
    )
    assert clone_op(layer).name == "conv"


def test_clone_op_of_an_operation_without_layer():
    image = keras.Input(SHAPE)
    op = trace_model(keras.Model(image, keras.ops.mean(image, axis=(1, 2)))).calls[0].op
    clone = clone_op(op, name="average")
    assert (clone.name, clone.axis) == ("average", (1, 2))
    assert clone is not op


def bent(name="bent"):
    """An activation with weights that no two draws have the same."""
    return kl.PReLU(alpha_initializer="random_normal", shared_axes=[1, 2], name=name)


def test_activations_with_weights_are_copied_with_the_layers_they_are_in():
    """Keras builds them on the first numbers that come, of a new layer as of the original."""
    image = keras.Input(SHAPE)
    x = kl.Conv2D(4, 3, activation=bent(), use_bias=False, name="conv")(image)
    x = kl.SpectralNormalization(kl.Conv2D(4, 1, activation=bent()), name="wrapper")(x)
    x = kl.Activation(bent(), name="alone")(x)
    model = keras.Model(image, kl.Dense(3)(kl.GlobalAveragePooling2D()(x)))
    graph = trace_model(model)
    conv = graph.call("conv").op
    assert len(conv.weights) == 2
    clone = clone_built(conv, graph.input_shape, use_bias=True)
    assert [weight.name for weight in clone.weights] == ["kernel", "bias", "alpha"]
    x = images()
    copy, flat = clone_graph(graph, trainable=True), as_model(graph, name="flat")
    assert not {id(v) for v in copy.variables} & {id(v) for v in graph.variables}
    np.testing.assert_array_equal(copy(x), model(x))
    np.testing.assert_array_equal(flat(x), model(x))
    assert len(flat.weights) == len(model.weights) == 9


class Scale(kl.Layer):
    """A user's own layer that cannot be made from its configuration."""

    def __init__(self, function, *, weighed):
        super().__init__()
        self.function = function
        if weighed:
            self.weight = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return self.function(x)


@pytest.mark.parametrize("weighed", [False, True])
def test_what_cannot_be_made_again_is_not_shared_instead(weighed):
    with pytest.raises(ValueError, match="whose `function` is a Python lambda"):
        clone_op(kl.Lambda(lambda x: x * 2.0))
    with pytest.raises(NotImplementedError):
        clone_op(Scale(abs, weighed=weighed))


def test_model_is_flat_and_round_trips(small_teacher, tmp_path):
    x = images()
    wanted = np.asarray(small_teacher(x, training=False))
    before = state(*small_teacher.variables)
    model = as_model(trace_model(small_teacher), name="flat")
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    np.testing.assert_array_equal(model(x, training=False), wanted)
    model.save(tmp_path / "flat.keras")
    loaded = keras.models.load_model(tmp_path / "flat.keras")
    np.testing.assert_array_equal(loaded(x, training=False), wanted)
    assert not {id(v) for v in model.variables} & {id(v) for v in small_teacher.variables}
    for old, new in zip(before, state(*small_teacher.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layers_are_named_after_their_calls():
    names = [layer.name for layer in as_model(trace_model(small_model("shared")), name="m").layers]
    assert names[0] == "image"
    assert {"twice", "cell_conv1", "cell_conv1_norm"} <= set(names)


def test_names_that_meet_are_numbered():
    image = keras.Input(SHAPE)
    inside = keras.Input(SHAPE)
    nested = keras.Model(inside, kl.Flatten(name="b")(kl.ReLU(name="image")(inside)), name="a")
    model = keras.Model(image, kl.Dense(2, name="a_b")(nested(kl.ReLU(name="image")(image))))
    names = [layer.name for layer in as_model(trace_model(model), name="m").layers]
    assert names == ["image", "image_2", "a_image", "a_b", "a_b_2"]


def test_operations_of_one_name_from_two_loaded_models(tmp_path):
    inside = keras.Input(SHAPE)
    keras.Model(inside, inside * 2.0).save(tmp_path / "twice.keras")
    one, two = (keras.models.load_model(tmp_path / "twice.keras") for _ in range(2))
    image = keras.Input(SHAPE)
    one.name, two.name = "one", "two"
    model = as_model(trace_model(keras.Model(image, two(one(image)))), name="m")
    np.testing.assert_array_equal(model(images()), images() * 4.0)


def test_shared_layers_are_used_themselves_and_others_frozen():
    graph = trace_model(small_model("plain"))
    shared = graph.call("conv2").op
    model = as_model(graph, name="m", shared={id(shared)}, frozen=True)
    assert model.get_layer("conv2") is shared
    assert {id(v) for v in model.trainable_variables} == {id(v) for v in shared.variables}
    assert graph.call("conv1").op.trainable
    assert_close(model(images(), training=False), np.asarray(graph(images())))


def test_copies_of_an_adapted_normalization_normalize_alike():
    normalize = kl.Normalization()
    normalize.adapt(np.random.default_rng(0).normal(5, 3, (64, *SHAPE)).astype("float32"))
    image = keras.Input(SHAPE)
    graph = trace_model(keras.Model(image, kl.Flatten()(normalize(image))))
    x = images()
    wanted = np.asarray(graph(x))
    assert np.abs(wanted - np.reshape(x, wanted.shape)).max() > 0.5
    assert_close(clone_graph(graph, trainable=False)(x), wanted)
    assert_close(as_model(graph, name="copy")(x), wanted)
