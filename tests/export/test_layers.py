import keras
import numpy as np
import pytest

from kgraft.export import export_student, float32_bytes
from kgraft.export.layers import Layers

QUANTIZED = ("dynamic", "int8", "int16x8")


def exported(model, images, folder, *formats):
    files = export_student(model, folder=folder, formats=formats, calibration=images)
    return {file.format: open(file.path, "rb").read() for file in files}


def test_rounded_weights_are_explained(model, images, tmp_path):
    float32 = float32_bytes(model, images.shape[1:])
    made = exported(model, images, tmp_path, "float32", "float16", *QUANTIZED)
    for data in made.values():
        assert Layers(data, float32).wrong_weights() == ()


def test_noise_by_layer(student, images, tmp_path):
    float32 = float32_bytes(student)
    made = exported(student, images, tmp_path, "float32", *QUANTIZED)
    noise = {name: Layers(data, float32).noise(images[:4]) for name, data in made.items()}
    assert {layer.snr_db for layer in noise["float32"]} == {None}
    for name in ("int8", "int16x8"):
        found = [layer.snr_db for layer in noise[name]]
        assert found == sorted(found) and found[0] > 15
        assert {layer.op for layer in noise[name]} == {
            "CONV_2D",
            "MAX_POOL_2D",
            "RESHAPE",
            "FULLY_CONNECTED",
        }
    assert noise["int16x8"][0].snr_db > noise["int8"][0].snr_db
    assert min(layer.snr_db or 99 for layer in noise["dynamic"]) > 15


def test_noise_by_hand():
    """One layer, whose noise can be computed from outside."""
    image = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, name="only")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32)
    exact = keras.Model(image, x)(images).numpy()
    float32 = float32_bytes(model)
    weights = model.get_layer("only").kernel.numpy()
    scaled = keras.models.clone_model(model)
    scaled.get_layer("only").kernel.assign(1.1 * weights)
    layers = Layers(float32_bytes(scaled), float32)
    expected = 10 * np.log10(np.sum(exact**2) / np.sum((0.1 * exact) ** 2))
    by_op = {layer.op: layer.snr_db for layer in layers.noise(images)}
    assert by_op["CONV_2D"] == pytest.approx(expected, abs=1e-3) == pytest.approx(20, abs=1e-3)
    assert [wrong.off > 1 for wrong in layers.wrong_weights()] == [True]
