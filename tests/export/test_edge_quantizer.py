"""Files that ai-edge-quantizer makes, and what is said where it is not there."""

import pathlib
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from kgraft.errors import KgraftError
from kgraft.export import export_student, float32_bytes, verify_exports
from kgraft.export.edge_quantizer import edge_quantized
from kgraft.export.runner import load_interpreter

FORMATS = ("aeq_int8", "aeq_int4", "aeq_mixed")


def types(path):
    """How many weights a file holds of each type, by the type's name."""
    interpreter = load_interpreter(path)
    details = interpreter.get_tensor_details()
    return {np.dtype(detail["dtype"]).name for detail in details}


# Between them these have all that the recipes tell apart: a head that flattens, an open image size
# and an addition, filters of one channel.
@pytest.mark.parametrize("model", ["conv", "residual", "depthwise"], indirect=True)
def test_every_recipe_is_verified(model, images, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    files = export_student(model, folder=tmp_path, formats=FORMATS, calibration=images)
    found = verify_exports(files, model, images, calibration=images)
    assert [check.why for check in found] == [""] * 3
    assert all(check.layers for check in found)
    # int8 rounds weights sixteen times as finely, and activations, which int4 leaves, to 256 steps.
    # Depthwise kernels are int8 in all.
    if not any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in model.layers):
        assert found[0].mean_abs_difference < 1.5 * found[1].mean_abs_difference


def test_int4_takes_half_the_bytes(student, images, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    names = ("aeq_int8", "aeq_int4", "aeq_mixed")
    eight, four, mixed = export_student(student, folder=tmp_path, formats=names, calibration=images)
    assert "float32" not in types(eight.path)
    assert four.bytes < mixed.bytes < eight.bytes


@pytest.mark.parametrize("layer", ["DepthwiseConv2D", "Conv2DTranspose"])
@pytest.mark.parametrize("name", ["aeq_int4", "aeq_mixed"])
def test_kernels_that_no_int4_is_for_take_int8(images, tmp_path, name, layer):
    pytest.importorskip("ai_edge_quantizer")
    keras.utils.set_random_seed(0)
    x = image = keras.Input(images.shape[1:])
    x = keras.layers.Conv2D(8, 3)(x)
    given = (3,) if layer == "DepthwiseConv2D" else (7, 3)
    x = getattr(keras.layers, layer)(*given, name="inside")(x)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    (file,) = export_student(model, folder=tmp_path, formats=[name], calibration=images)
    (found,) = verify_exports([file], model, images, calibration=images)
    assert found.ok, found.why
    shape = {"DepthwiseConv2D": (1, 3, 3, 8), "Conv2DTranspose": (7, 3, 3, 8)}[layer]
    kernels = [
        np.dtype(tensor["dtype"]).name
        for tensor in load_interpreter(file.path).get_tensor_details()
        if tuple(tensor["shape"]) == shape
    ]
    assert "int8" in kernels and "float32" not in kernels


def test_ranges_hold_every_image(student, images, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    # The image that says the most comes first, which a running mean would have forgotten.
    calibration = np.concatenate([images[:1] * 20, images])
    (file,) = export_student(
        student, folder=tmp_path, formats=["aeq_int8"], calibration=calibration
    )
    (found,) = verify_exports([file], student, calibration, calibration=calibration)
    assert found.ok, found.why


def test_a_missing_package_is_named(student, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(KgraftError, match=r"--formats=aeq_int4 needs ai-edge-quantizer, which is"):
        export_student(student, folder=tmp_path / "a", formats=["aeq_int4"], calibration=images)
    assert not (tmp_path / "a").exists()


def offsets(data):
    """Where the buffers of a file lie that are behind its flatbuffer."""
    model = schema.Model.GetRootAs(data, 0)
    return [found for i in range(model.BuffersLength()) if (found := model.Buffers(i).Offset()) > 1]


def test_buffers_behind_the_file_come_into_it(tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(128, 3, strides=2)(image)
    # Weights of 256 KiB together are put there.
    x = keras.layers.Conv2D(256, 3)(x)
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).uniform(size=(8, 12, 12, 3)).astype("float32")
    raw = edge_quantized(float32_bytes(model), "aeq_int8", images)
    assert offsets(raw)
    files = export_student(model, folder=tmp_path, formats=["aeq_int8"], calibration=images)
    assert not offsets(pathlib.Path(files[0].path).read_bytes())
    (found,) = verify_exports(files, model, images, calibration=images)
    assert found.ok, found.why
