"""Training with int8 emulated: what stays of the kernels that went in, and their ranges."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl

from kgraft.compress import to_tf_keras
from kgraft.compress.quantizing import wrap_quantizing
from kgraft.compress_config import CompressConfig
from kgraft.export import export_student, verify_exports
from kgraft.export.runner import load_interpreter

from .conftest import SHAPE


def thin_start():
    """A student whose first kernel pruning leaves alone, being so small, and a depthwise one."""
    keras.utils.set_random_seed(6)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    x = kl.ReLU(name="relu1")(kl.Conv2D(2, 1, name="first")(x))
    x = kl.DepthwiseConv2D(5, padding="same", depth_multiplier=8, name="depthwise")(x)
    for name in ("second", "third"):
        x = kl.ReLU(name=f"{name}_relu")(kl.Conv2D(16, 3, name=name)(x))
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, kl.Dense(5, name="logits")(x), name="student")


def test_a_kernel_that_is_not_pruned_does_not_cost_others_their_zeros(stage):
    technique = "prune+cluster+quantize"
    made = dataclasses.replace(stage, student=thin_start()).run(technique, select="last")
    assert "first" in [left.name for left in made.outcomes[0].left]
    for name in ("second", "third"):
        before, after = (
            np.asarray(model.get_layer(name).kernel)
            for model in (made.model, made.quantized.floats)
        )
        assert not np.array_equal(before, after) and np.sum(before == 0) > before.size // 5
        assert (after[before == 0] == 0).all()
    # Zeros and values are told of the kernels that were pruned and clustered, not of all.
    floats, outcome = made.quantized.floats, made.outcomes[2]
    kernels = [np.asarray(floats.get_layer(name).kernel) for name in ("second", "third", "logits")]
    values = [len(np.unique(kernel)) for kernel in kernels]
    assert outcome.layers == 5 and outcome.distinct == max(values)
    assert len(np.unique(floats.get_layer("depthwise").kernel)) > max(values)
    zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels)
    assert outcome.sparsity == zeros / sum(kernel.size for kernel in kernels)


def test_channels_without_weights_have_a_range_before_the_first_update(stage):
    plain = to_tf_keras(stage.student)
    kernel, bias = plain.get_layer("conv3").get_weights()
    kernel[..., 3] = 0.0
    plain.get_layer("conv3").set_weights([kernel, bias])
    wrapped = wrap_quantizing(plain, CompressConfig("prune+quantize"), ("prune",))
    wrapped.begin(stage.bank, 0)
    wrappers = {
        layer.layer.name: layer for layer in wrapped.model.layers if hasattr(layer, "layer")
    }
    ((weight, _, ranges),) = wrappers["conv3"]._weight_vars
    low, high = np.asarray(ranges["min_var"]), np.asarray(ranges["max_var"])
    largest = np.abs(np.asarray(weight)).max(axis=(0, 1, 2))
    assert largest[3] == 0 and high[3] == -low[3] == np.float32(1e-3) * largest.max()
    np.testing.assert_allclose(np.delete(high, 3), np.delete(largest, 3), rtol=1e-6)


def verified_file(stage, student, folder):
    """The int8_qat file of a student after two updates."""
    made = dataclasses.replace(stage, student=student).run(
        "quantize", compress_rate=1e-4, compress_steps=2
    )
    given = {"quantized": made.quantized}
    (file,) = export_student(made.model, folder=folder, formats=["int8_qat"], **given)
    views = stage.heldout.views.astype("float32")
    (found,) = verify_exports([file], made.model, views, calibration=views, **given)
    assert found.ok, found.why
    return file


def with_transposed():
    """A student of a convolution, a transposed one and a dense layer."""
    keras.utils.set_random_seed(7)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    x = kl.ReLU(name="relu1")(kl.Conv2D(6, 3, name="conv")(x))
    x = kl.ReLU(name="relu2")(kl.Conv2DTranspose(4, 3, name="up")(x))
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, kl.Dense(5, name="logits")(x), name="student")


def test_files_with_transposed_convolutions_are_held_against_every_weight(stage, tmp_path):
    file = verified_file(stage, with_transposed(), tmp_path / "x")
    # A kernel's scales: a convolution has one for each output channel, the others one for all.
    scales = {
        tuple(map(int, tensor["shape"])): len(tensor["quantization_parameters"]["scales"])
        for tensor in load_interpreter(file.path).get_tensor_details()
    }
    assert [scales[shape] for shape in ((6, 3, 3, 3), (4, 3, 3, 6), (5, 4))] == [6, 1, 1]


@pytest.mark.parametrize("kind", ["Add", "Average"])
def test_layers_that_merge_several_values_are_emulated_pair_by_pair(stage, tmp_path, kind):
    keras.utils.set_random_seed(8)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    branches = [kl.Conv2D(4, size, padding="same", name=f"conv{size}")(x) for size in (1, 3, 5)]
    x = kl.ReLU(name="relu")(getattr(kl, kind)(name="merged")(branches))
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    student = keras.Model(image, kl.Dense(5, name="logits")(x), name="student")
    verified_file(stage, student, tmp_path / "x")


def test_a_swish_inside_a_layer_has_a_range_before_it(stage, tmp_path):
    keras.utils.set_random_seed(9)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    x = kl.Conv2D(6, 3, activation="swish", name="conv")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    x = kl.Dense(4, activation="swish", name="hidden")(x)
    student = keras.Model(image, kl.Dense(5, name="logits")(x), name="student")
    verified_file(stage, student, tmp_path / "x")
