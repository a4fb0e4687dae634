"""The grid that blocks train on with --fake_quant=int8 is the one that an int8 file stores."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from kgraft.export import export_student
from kgraft.export.runner import open_interpreter
from kgraft.grafting.fake_quant import fake_int8, kernels_of, rounded_values
from kgraft.graph import trace_model

from .conftest import SHAPE, with_random_weights

# From a kernel of Keras, `[..., channels]`, to the order in which a file stores it.
STORED = {
    kl.Conv2D: lambda kernel: np.moveaxis(kernel, -1, 0),
    kl.DepthwiseConv2D: lambda kernel: kernel.reshape(1, *kernel.shape[:2], -1),
    kl.Dense: np.transpose,
}


def student_of_all_kinds() -> keras.Model:
    image = keras.Input(SHAPE)
    x = kl.Conv2D(8, 3, activation="relu", name="conv")(image)
    x = kl.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = kl.ReLU(name="relu")(x)
    x = kl.MaxPooling2D(name="down")(x)
    x = kl.Conv2D(6, 1, name="point")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return with_random_weights(keras.Model(image, kl.Dense(5, name="logits")(x)))


def stored_weights(path: str) -> list[np.ndarray]:
    """Every int8 weight of a file, as real numbers."""
    interpreter, found = open_interpreter(path), []
    for detail in interpreter.get_tensor_details():
        scales = detail["quantization_parameters"]["scales"]
        if detail["dtype"] != np.int8 or len(scales) < 2:
            continue
        values = interpreter.get_tensor(detail["index"]).astype(np.float64)
        shape = [1] * values.ndim
        shape[detail["quantization_parameters"]["quantized_dimension"]] = -1
        found.append(values * scales.reshape(shape))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[keras.Model, str]:
    model = student_of_all_kinds()
    images = np.random.default_rng(1).uniform(-1, 1, (24, *SHAPE)).astype(np.float32)
    folder = tmp_path_factory.mktemp("export")
    return model, export_student(model, folder=folder, formats=["int8"], calibration=images)[0].path


def test_kernels_are_stored_as_they_were_rounded_in_training(exported) -> None:
    model, path = exported
    stored = stored_weights(path)
    layers = [layer for layer in model.layers if kernels_of(layer)]
    assert len(stored) == len(layers) == 4
    for layer in layers:
        ((kernel, axes),) = kernels_of(layer)
        wanted = STORED[type(layer)](fake_int8(tf.convert_to_tensor(kernel.value), axes).numpy())
        (found,) = [weights for weights in stored if weights.shape == wanted.shape]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_a_file_has_a_range_for_each_value_that_is_rounded(exported) -> None:
    model, path = exported
    details = open_interpreter(path).get_tensor_details()
    whole = [d for d in details if d["dtype"] == np.int8 and len(d["shape"]) in (2, 4)]
    activations = [d for d in whole if len(d["quantization_parameters"]["scales"]) == 1]
    ranges = {tuple(d["quantization"]) for d in activations}
    # The image has one too; it comes in as it is, and is no value of a block.
    assert len(ranges) == 1 + len(rounded_values(trace_model(model)))
