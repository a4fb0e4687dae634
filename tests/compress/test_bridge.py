"""Models carried to Keras 2 and back, and what cannot be."""

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers as kl
from keras import ops
from small_models import (
    SHAPE,
    application_model,
    assert_close,
    conv,
    images,
    residual,
    rounding,
    small_model,
    state,
)
from student_cases import chain_of, student_of

from kgraft.compress import to_keras, to_tf_keras
from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.graph import as_model, trace_model


def assert_crosses(model, x=None, tolerance=1e-5):
    """Checks that a model, its twin and the twin's twin agree, each with weights of its own."""
    x = images(shape=model.input_shape[1:]) if x is None else x
    before = state(*model.variables)
    wanted = np.asarray(model(x, training=False))
    there = to_tf_keras(model)
    assert isinstance(there, tf_keras.Model)
    assert_close(there(x, training=False), wanted, tolerance)
    back = to_keras(there)
    assert isinstance(back, keras.Model)
    assert_close(back(x, training=False), wanted, tolerance)
    for variable in (*there.variables, *back.variables):
        variable.assign(variable * 0)
    for old, new in zip(before, state(*model.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    return there, back


def test_small_models_cross(small_teacher):
    there, back = assert_crosses(small_teacher)
    assert there.name == back.name == small_teacher.name
    assert next(layer.name for layer in back.layers) == "image"
    assert {layer.name for layer in there.layers} == {layer.name for layer in back.layers}


def test_real_architectures_cross(application):
    # ResNet50 adds up rounding over 50 layers: both Keras normalise by ops of their own.
    moves = rounding(
        lambda x: application(x, training=False), images(shape=application.input_shape[1:])
    )
    assert_crosses(application, tolerance=max(1e-5, 5 * moves))


@pytest.mark.slow
def test_hard_activations_of_a_real_architecture_cross():
    assert_crosses(application_model("MobileNetV3Small", 64))


@pytest.mark.parametrize("name", ["residual", "depthwise", "squeeze_excite", "operators"])
def test_fused_students_cross(name):
    student = student_of(chain_of(small_model(name)), start="closed_form")
    assert_crosses(as_model(fuse(student).graph, name="student"))


def ends(make, shape=SHAPE):
    """A model with the given function of its features between a convolution and logits."""
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    x = make(conv(image, 6, name="conv"))
    x = x if len(x.shape) == 2 else kl.Flatten(name="flat")(x)
    return keras.Model(image, kl.Dense(3, name="logits")(x))


LAYERS = {
    "separable": lambda: kl.SeparableConv2D(4, 3, depth_multiplier=2, activation="tanh"),
    "depthwise": lambda: kl.DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=2),
    "dilated": lambda: kl.Conv2D(4, 3, dilation_rate=2, padding="same", use_bias=False),
    "transposed": lambda: kl.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "dense": lambda: kl.Dense(4, activation="gelu"),
    "group_norm": lambda: kl.GroupNormalization(3),
    "leaky": lambda: kl.LeakyReLU(0.3),
    "elu": lambda: kl.ELU(0.7),
    "prelu": lambda: kl.PReLU(shared_axes=[1, 2], alpha_initializer="uniform"),
    "relu": lambda: kl.ReLU(2.0, negative_slope=0.1, threshold=0.2),
    "softmax": lambda: kl.Softmax(),
    "max_pool": lambda: kl.MaxPooling2D(3, 2, padding="same"),
    "average_pool": lambda: kl.AveragePooling2D(2, 1),
    "global": lambda: kl.GlobalMaxPooling2D(keepdims=True),
    "pad": lambda: kl.ZeroPadding2D(((0, 1), (2, 3))),
    "crop": lambda: kl.Cropping2D(((1, 2), (0, 3))),
    "grow": lambda: kl.UpSampling2D((2, 3), interpolation="bilinear"),
    "reshape": lambda: kl.Reshape((6, 24, -1)),
    "permute": lambda: kl.Permute((3, 1, 2)),
    "identity": lambda: kl.Identity(),
    "dropout": lambda: kl.Dropout(0.5, noise_shape=(None, 1, 1, None)),
    "spatial_dropout": lambda: kl.SpatialDropout2D(0.5),
    "noise": lambda: kl.GaussianNoise(0.5),
    "noise_dropout": lambda: kl.GaussianDropout(0.5),
    "rescale": lambda: kl.Rescaling([0.5, 1, 2, 3, 4, 5], 0.25),
    "normalize": lambda: kl.Normalization(mean=[0.1] * 6, variance=[2.0] * 6),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_cross(kind):
    assert_crosses(ends(LAYERS[kind]()))


@pytest.mark.parametrize("kind", ["Subtract", "Average", "Maximum", "Minimum", "Concatenate"])
def test_layers_of_several_inputs_cross(kind):
    assert_crosses(ends(lambda x: getattr(kl, kind)()([x, conv(x, 6, name="other")])))


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Maximum", "Minimum"])
def test_layers_of_three_inputs_cross_as_layers_of_two(kind):
    def merged(x):
        return getattr(kl, kind)(name="m")([x, conv(x, 6, name="a"), conv(x, 6, name="b")])

    assert_crosses(ends(merged))
    made = to_tf_keras(ends(merged))
    assert all(len(layer._inbound_nodes[0].parent_nodes) <= 2 for layer in made.layers)


ACTIVATIONS = (
    *("relu", "sigmoid", "tanh", "silu", "gelu", "elu", "selu", "softplus", "softsign"),
    *("softmax", "exponential", "mish", "relu6", "leaky_relu", "hard_sigmoid", "hard_silu"),
    "linear",
)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_cross(name):
    inside = kl.Conv2D(6, 3, padding="same", activation=name, name="inside")
    alone = kl.Activation(name, name="alone")
    assert_crosses(ends(lambda x: kl.Add()([inside(x), inside(x + 1.0), alone(x)])))


@pytest.mark.parametrize("name", ["hard_sigmoid", "leaky_relu", "relu6", "swish"])
def test_activations_of_keras_2_cross(name):
    image = tf_keras.Input(SHAPE)
    x = tf_keras.layers.Conv2D(6, 3, activation=name)(image)
    model = tf_keras.Model(image, tf_keras.layers.Flatten()(x))
    assert_close(to_keras(model)(images()), np.asarray(model(images())))


OPERATORS = {
    "add": lambda x: x + 1.5,
    "add_channels": lambda x: x + ops.convert_to_tensor(np.arange(6.0, dtype="float32")),
    "subtract": lambda x: x - 0.5,
    "subtract_from": lambda x: 2.0 - x,
    "multiply": lambda x: 3.0 * x,
    "divide": lambda x: x / 4.0,
    "negative": lambda x: -x,
    "tensors": lambda x: (x + ops.relu(x)) * x - ops.maximum(x, ops.minimum(x, x)),
    "maximum": lambda x: ops.maximum(x, 0.0),
    "clip": lambda x: ops.clip(x, 0.0, 0.5),
    "relu": ops.relu,
    "relu6": ops.relu6,
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.1),
    "elu": lambda x: ops.elu(x, 0.5),
    "selu": ops.selu,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "tanh": ops.tanh,
    "hard_sigmoid": ops.hard_sigmoid,
    "hard_silu": ops.hard_silu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "tanh_gelu": ops.gelu,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "exponential": ops.exp,
    "softmax": ops.softmax,
    "mean": lambda x: ops.mean(x, axis=(1, 2)),
    "mean_keep": lambda x: ops.mean(x, axis=[-3, -2], keepdims=True),
    "max": lambda x: ops.max(x, axis=(1, 2)),
    "reshape": lambda x: ops.reshape(x, (-1, 144, 6)),
    "squeeze": lambda x: ops.squeeze(ops.mean(x, axis=(1, 2), keepdims=True), (1, 2)),
    "concatenate": lambda x: ops.concatenate([x, ops.relu(x)], axis=-1),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_cross(name):
    assert_crosses(ends(OPERATORS[name]))


def test_adapted_normalization_crosses():
    layer = kl.Normalization()
    layer.adapt(images(64) * 3 + 5)
    image = keras.Input(SHAPE)
    assert_crosses(keras.Model(image, kl.Flatten()(layer(image))))


def test_training_is_the_same_too():
    model = small_model("batch_norm")
    there = to_tf_keras(model)
    x = images()
    assert_close(there(x, training=True), np.asarray(model(x, training=True)))


def test_what_is_frozen_stays_frozen():
    model = small_model("nested")
    model.get_layer("head").get_layer("dense").trainable = False
    there = to_tf_keras(model)
    back = to_keras(there)
    for twin in (there, back):
        assert not twin.get_layer("head_dense").trainable
        assert twin.get_layer("head_out").trainable
    norm = there.get_layer("stage1_conv1_norm")
    before = state(norm.moving_mean)
    there(images(), training=True)
    np.testing.assert_array_equal(norm.moving_mean, before[0])
    assert trace_model(back).call("stage1_conv1_norm").kwargs["training"] is False


def test_shared_layers_stay_shared():
    there, back = assert_crosses(small_model("shared"))
    for twin in (there, back):
        assert [layer.name for layer in twin.layers].count("twice") == 1
        assert not any(layer.name == "twice_2" for layer in twin.layers)


def test_layers_without_weights_are_one_for_each_use():
    relu = kl.ReLU(name="relu")
    there, back = assert_crosses(ends(lambda x: relu(conv(relu(x), 6, name="again"))))
    for twin in (there, back):
        names = [layer.name for layer in twin.layers if type(layer).__name__ == "ReLU"]
        assert names == ["relu", "relu_2"]


def test_open_sizes_stay_open():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, residual(image))
    there, back = assert_crosses(model, images(shape=(10, 14, 3)))
    assert there.input_shape == back.input_shape == (None, None, None, 3)


@keras.saving.register_keras_serializable("kgraft_tests")
class Own(kl.Layer):
    """A user's own layer."""

    def call(self, x):
        return x


KNOWN = "use layers among Activation, Add, "


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Own(name="mine"), f"layer 'mine' .*: it is a Own; {KNOWN}"),
        (lambda: kl.UnitNormalization(name="unit"), f"'unit' .*: it is a UnitNorm.*; {KNOWN}"),
        (lambda: kl.LayerNormalization(rms_scaling=True, name="rms"), "'rms' .*rms_scaling=True"),
        (lambda: kl.Activation(lambda x: x, name="fn"), "'fn' .*activation <lambda> is not one of"),
        (lambda: kl.Activation("sparse_plus", name="sp"), "'sp' .*: it applies sparse_plus; use"),
        (lambda: kl.ReLU(dtype="bfloat16", name="half"), "'half' .*dtype is bfloat16; use float32"),
        (
            lambda: ops.square,
            f"'square.*' .*: it is the operation Square as it is used here; {KNOWN}",
        ),
        (lambda: lambda x: 1.0 / (x + 9.0), "it is the operation TrueDivide as it is used here"),
        (lambda: lambda x: ops.clip(x, 1.0, 2.0), "it is the operation Clip as it is used here"),
        (lambda: lambda x: ops.mean(x, axis=3), "it is the operation Mean as it is used here"),
        (
            lambda: lambda x: x * ops.mean(x, axis=(0, 1, 2)),
            "it is the operation (Mean|Multiply) as it is used here",
        ),
        (
            lambda: lambda x: kl.BatchNormalization(name="n")(x, mask=np.ones((1, 12, 12))),
            "'n' .*: it is called with a value of type ndarray; give tensors alone",
        ),
    ],
)
def test_what_has_no_twin_is_named(make, message):
    model = ends(make())
    with pytest.raises(KgraftError, match=message) as error:
        to_tf_keras(model)
    assert "\n" not in str(error.value)
    assert "cannot be had in Keras 2 and Keras 3 alike" in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x * 2.0, "layer 'tf.*' .*: it is a TFOpLambda"),
        (tf_keras.layers.Lambda(lambda x: x, name="any"), "layer 'any' .*: it is a Lambda"),
        (
            tf_keras.layers.BatchNormalization(axis=[1, 3], name="axes"),
            r"'axes' .*: it normalises axes \[1, 3\]; give it one axis",
        ),
        (tf_keras.layers.Activation(abs, name="abs"), "'abs' .*activation abs is not one of"),
        (tf_keras.Sequential([tf_keras.layers.ReLU()], "inner"), "'inner' .*: it is a Sequential"),
    ],
)
def test_what_has_no_way_back_is_named(make, message):
    image = tf_keras.Input(SHAPE)
    with pytest.raises(KgraftError, match=message):
        to_keras(tf_keras.Model(image, make(image)))


def test_the_way_back_needs_one_input_and_one_output():
    image = tf_keras.Input(SHAPE)
    model = tf_keras.Model(image, [image, image], name="two")
    with pytest.raises(KgraftError, match="'two' is a Functional with 1 inputs and 2 outputs"):
        to_keras(model)
    with pytest.raises(KgraftError, match="expected a functional tf_keras model"):
        to_keras(tf_keras.Sequential())


def test_the_way_there_needs_a_graph():
    image = keras.Input(SHAPE)
    with pytest.raises(KgraftError, match="expected a model with one output"):
        to_tf_keras(keras.Model(image, [image, image]))
