"""Students whose biases take back what rounding their kernels does to the means of channels."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from kgraft.errors import KgraftError
from kgraft.export import DeviceInput, TFLiteRunner, export_student, keras_logits
from kgraft.export.bias_correction import CORRECTED, corrected_students
from kgraft.export.convert import model_bytes
from kgraft.grafting.fake_quant import int8_kernels, kernels_of
from kgraft.graph import run_calls, trace_model


def without_activations(seed=0):
    """Convolutions and a dense layer, two of them without a bias."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = kl.Conv2D(6, 3, padding="same", use_bias=False, name="first")(image)
    x = kl.DepthwiseConv2D(3, padding="same", use_bias=False, name="second")(x)
    x = kl.GlobalAveragePooling2D()(x)
    return keras.Model(image, kl.Dense(4, name="last")(x), name="plain")


@pytest.mark.parametrize("bits", [("int8", 8), ("aeq_int4", 4)])
def test_a_rounded_layer_keeps_the_mean_of_each_channel(bits):
    name, count = bits
    model = without_activations()
    images = np.random.default_rng(0).uniform(size=(40, 8, 8, 3)).astype("float32")
    corrected = corrected_students(model, [name], images)[name]
    # Layer by layer, on what reaches the layer in the student itself.
    ours, theirs = trace_model(corrected), trace_model(model)
    for (call, _), (twin, values) in zip(
        run_calls(ours, images), run_calls(theirs, images), strict=True
    ):
        if kernels_of(twin.op):
            np.testing.assert_array_equal(call.op.kernel, twin.op.kernel)
            renamed = {call.input: values[twin.input]}
            # LiteRT rounds depthwise kernels to eight bits at least.
            eight = isinstance(call.op, kl.DepthwiseConv2D)
            with int8_kernels(call.op, 8 if eight else count):
                (made,) = call.run(renamed, training=False)
            (exact,) = twin.run(values, training=False)
            axes = tuple(range(len(exact.shape) - 1))
            np.testing.assert_allclose(
                np.mean(made, axis=axes), np.mean(exact, axis=axes), atol=1e-5
            )
            moved = np.abs(np.asarray(call.op.bias) - (twin.op.bias if twin.op.use_bias else 0))
            assert moved.max() > 1e-5


def test_activations_come_after_the_mean():
    keras.utils.set_random_seed(1)
    image = keras.Input((6, 6, 2))
    x = kl.Conv2D(5, 3, activation="relu", name="conv")(image)
    model = keras.Model(image, kl.Dense(3)(kl.Flatten()(x)))
    images = np.random.default_rng(1).normal(size=(10, 6, 6, 2)).astype("float32")
    fixed = corrected_students(model, ["int8"], images)["int8"].get_layer("conv")
    assert fixed.activation is keras.activations.relu
    linear = kl.Conv2D(5, 3)
    linear.build((None, 6, 6, 2))
    linear.set_weights(fixed.get_weights())
    with int8_kernels(linear):
        rounded = np.mean(linear(images), axis=(0, 1, 2))
    linear.set_weights(model.get_layer("conv").get_weights())
    np.testing.assert_allclose(rounded, np.mean(linear(images), axis=(0, 1, 2)), atol=1e-5)


def with_learned_activations():
    """Activations with weights of their own in layers that have no bias."""
    keras.utils.set_random_seed(0)

    def bent():
        return kl.PReLU(keras.initializers.RandomNormal(0.3, 0.1), shared_axes=[1, 2])

    image = keras.Input((12, 12, 3))
    x = kl.Conv2D(8, 3, use_bias=False, activation=bent(), name="conv")(image)
    x = kl.SeparableConv2D(8, 3, use_bias=False, activation=bent(), name="separable")(x)
    x = kl.Conv2D(8, 3, use_bias=False, name="folded")(x)
    x = kl.Activation(bent())(kl.BatchNormalization()(x))
    return keras.Model(image, kl.Dense(5)(kl.GlobalAveragePooling2D()(x)), name="learned")


def test_learned_activations_of_layers_without_a_bias(images, tmp_path):
    model = with_learned_activations()
    exact = keras_logits(model, images)
    files = export_student(model, folder=tmp_path, formats=["float32", "int8"], calibration=images)
    for file, share in zip(files, (1e-5, 0.05), strict=True):
        off = np.abs(TFLiteRunner(file.path)(images) - exact)
        assert off.max() < share * np.abs(exact).max()
    found = corrected_students(model, ["int8"], images)["int8"]
    for name in ("conv", "separable"):
        old, new = model.get_layer(name), found.get_layer(name)
        np.testing.assert_array_equal(new.get_weights()[0], old.get_weights()[0])
        np.testing.assert_array_equal(new.activation.alpha, old.activation.alpha)
        assert 0 < np.abs(new.bias).max() < 0.05


def test_the_function_of_the_student_is_kept_up_to_biases(model, images):
    before = [weights.copy() for weights in model.get_weights()]
    found = corrected_students(model, ["int8", "float32", "saved_model"], images)
    assert set(found) == {"int8"}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    exact = keras_logits(model, images)
    off = np.abs(keras_logits(found["int8"], images) - exact)
    assert off.max() < 0.05 * np.abs(exact).max()


def test_formats_of_one_rounding_share_a_student(student, images):
    found = corrected_students(student, CORRECTED, images)
    assert set(found) == set(CORRECTED)
    assert found["int8"] is found["int16x8"] is found["aeq_int8"]
    assert found["aeq_int4"] is not found["aeq_mixed"]


def test_dynamic_leaves_small_kernels_and_their_biases_alone(images):
    keras.utils.set_random_seed(0)
    image = keras.Input(images.shape[1:])
    x = kl.Conv2D(8, 3, name="small")(image)
    x = kl.Conv2D(16, 3, name="large")(x)
    model = keras.Model(image, kl.Dense(3, name="head")(kl.GlobalAveragePooling2D()(x)))
    found = corrected_students(model, ["dynamic"], images)["dynamic"]
    for name, same in (("small", True), ("large", False), ("head", True)):
        old, new = model.get_layer(name).get_weights()[1], found.get_layer(name).get_weights()[1]
        assert np.array_equal(old, new) == same


def test_biases_are_left_alone_where_one_of_two_kernels_is_not_rounded(images):
    keras.utils.set_random_seed(0)
    image = keras.Input(images.shape[1:])
    x = kl.Conv2D(64, 3, name="wide")(image)
    x = kl.SeparableConv2D(24, 3, name="separable")(x)
    model = keras.Model(image, kl.Dense(3)(kl.GlobalAveragePooling2D()(x)))
    bias = model.get_layer("separable").get_weights()[2]
    for name, same in (("dynamic", True), ("int8", False)):
        found = corrected_students(model, [name], images)[name].get_layer("separable")
        assert np.array_equal(found.get_weights()[2], bias) == same


def test_images_that_biases_cannot_be_corrected_by_are_refused(student, images, tmp_path):
    broken = np.full_like(images, np.nan)
    with pytest.raises(KgraftError, match="calibration images must be finite"):
        export_student(student, folder=tmp_path, formats=["dynamic"], calibration=broken)
    with pytest.raises(KgraftError, match="the dynamic file needs calibration images; got none"):
        export_student(student, folder=tmp_path, formats=["dynamic"], calibration=images[:0])


def test_a_layer_with_lora_is_left_alone(images):
    keras.utils.set_random_seed(0)
    image = keras.Input(images.shape[1:])
    conv = kl.Conv2D(8, 3, name="conv")
    x = kl.BatchNormalization()(conv(image))
    model = keras.Model(image, kl.Dense(3)(kl.GlobalAveragePooling2D()(x)))
    conv.enable_lora(2)
    found = corrected_students(model, ["int8"], images)["int8"]
    np.testing.assert_array_equal(found.get_layer("conv").bias, conv.bias)


def test_without_images_nothing_is_corrected(student):
    assert corrected_students(student, CORRECTED, None) == {}


def test_pixels_are_preprocessed_where_the_file_does_it(images):
    model = without_activations()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype("float32")
    takes = DeviceInput(preprocess="unit", inside=True)
    inside = corrected_students(model, ["int8"], pixels, takes)["int8"]
    outside = corrected_students(model, ["int8"], pixels / 255)["int8"]
    for ours, theirs in zip(inside.get_weights(), outside.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def depthwise_net():
    """A stack of depthwise and 1x1 convolutions, wide ranges of weights within each channel."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    image = x = keras.Input((16, 16, 3))
    x = kl.Conv2D(16, 3, padding="same", activation="relu6")(x)
    for _ in range(5):
        x = kl.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
        x = kl.Conv2D(16, 1, activation="relu6")(x)
    model = keras.Model(image, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))
    for layer in model.layers:
        if kernels_of(layer):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * rng.lognormal(0, 1, kernel.shape), bias + 0.3])
    return model


def test_int8_logits_come_nearer(tmp_path):
    model = depthwise_net()
    images = np.random.default_rng(5).uniform(size=(48, 16, 16, 3)).astype("float32")
    exact = keras_logits(model, images)
    (file,) = export_student(model, folder=tmp_path, formats=["int8"], calibration=images)
    ours = np.abs(TFLiteRunner(file.path)(images) - exact).mean()
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(model_bytes(model, "int8", (16, 16, 3), None, images))
    theirs = np.abs(TFLiteRunner(plain)(images) - exact).mean()
    assert ours < 0.8 * theirs, (ours, theirs)


def test_a_refused_student_is_named(unconvertible, tmp_path):
    images = np.random.default_rng(0).uniform(size=(4, 2, 2, 3)).astype("float32")
    with pytest.raises(KgraftError, match=r"determined .*MatrixDeterminant; leave int8 out of"):
        export_student(unconvertible, folder=tmp_path / "e", formats=["int8"], calibration=images)
