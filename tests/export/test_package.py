import hashlib
import json
import subprocess

import keras
import numpy as np
import pytest

from kgraft.config import PLAIN_FORMATS
from kgraft.data.preprocess import PREPROCESSORS, preprocess
from kgraft.export import DeviceInput, TFLiteRunner, export_student, keras_logits, verify_exports
from kgraft.export.runner import open_interpreter

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (6, 12, 12, 3)).astype(np.uint8)


def told(folder):
    return json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))


def by_hand(pixels, content):
    """Does what preprocess.json says, with nothing but arithmetic."""
    wanted = content["input"]
    values = pixels.astype(np.float64)
    if wanted["pixels"] == "BGR":
        values = values[..., ::-1]
    return ((values - wanted["mean"]) / wanted["std"]).astype(np.float32)


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_the_recipe_is_the_preprocessing(student, tmp_path, name):
    export_student(student, folder=tmp_path, formats=["float32"], takes=DeviceInput(name))
    content = told(tmp_path)
    assert content["input"]["preprocess"] == name and content["inside_the_file"] == "none"
    np.testing.assert_allclose(
        by_hand(PIXELS, content), preprocess(PIXELS, name), rtol=1e-5, atol=1e-4
    )


def test_it_says_what_there_is(student, tmp_path):
    takes = DeviceInput("tf", resize="crop", dynamic_batch=True)
    export_student(student, folder=tmp_path, formats=["float32"], labels="abcde", takes=takes)
    content = told(tmp_path)
    taken = content["input"]
    assert [taken[key] for key in ("name", "batch", "height", "width", "channels")] == [
        "image",
        None,
        12,
        12,
        3,
    ]
    assert taken["pixels"] == "RGB" and taken["resize"] == "crop"
    assert "1/0.875" in taken["how_to_resize"]
    assert content["output"]["labels"] == "labels.txt" and content["quantized"] == {}


def test_scales_are_those_of_the_files(student, images, tmp_path):
    export_student(student, folder=tmp_path, formats=PLAIN_FORMATS, calibration=images)
    quantized = told(tmp_path)["quantized"]
    assert list(quantized) == ["student_int8.tflite", "student_int16x8.tflite"]
    for name, ends in quantized.items():
        details = open_interpreter(tmp_path / name).get_input_details()[0]
        assert (ends["image"]["scale"], ends["image"]["zero_point"]) == details["quantization"]
    assert quantized["student_int8.tflite"]["logits"]["type"] == "int8"
    assert quantized["student_int16x8.tflite"]["image"]["zero_point"] == 0
    assert told(tmp_path)["output"]["labels"] is None


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_that_are_not_rgb(channels, tmp_path):
    image = keras.Input((6, 6, channels))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(2)(x))
    export_student(model, folder=tmp_path, formats=["float32"], takes=DeviceInput("unit"))
    taken = told(tmp_path)["input"]
    assert taken["pixels"] == ("grey" if channels == 1 else "4 channels")
    assert taken["mean"] == [0.0] * channels and taken["std"] == [255.0] * channels


def test_checksums_are_of_every_file(student, tmp_path):
    export_student(student, folder=tmp_path, formats=["saved_model", "float32"], labels="abcde")
    sums = dict(
        reversed(line.split("  ")) for line in (tmp_path / "SHA256SUMS").read_text().splitlines()
    )
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert set(sums) == files - {"SHA256SUMS"}
    assert "saved_model/saved_model.pb" in sums
    data = (tmp_path / "student_float32.tflite").read_bytes()
    assert sums["student_float32.tflite"] == hashlib.sha256(data).hexdigest()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessing_inside_takes_pixels(student, tmp_path, name):
    takes = DeviceInput(name, inside=True)
    pixels = PIXELS.astype(np.float32)
    formats = ["saved_model", "float32"]
    # "caffe" is all there can be: channels in another order, and a mean of each taken off.
    formats += ["int8"] if name == "caffe" else []
    files = export_student(
        student, folder=tmp_path, formats=formats, calibration=pixels, takes=takes
    )
    given = preprocess(PIXELS, name)
    exact = student(given).numpy()
    np.testing.assert_allclose(
        TFLiteRunner(files[1].path)(pixels), exact, atol=1e-4 * np.abs(exact).max()
    )
    found = verify_exports(files, student, given, takes=takes, given=pixels, calibration=pixels)
    assert [check.why for check in found] == [""] * len(formats)
    content = told(tmp_path)
    assert content["inside_the_file"] == name and content["input"]["preprocess"] == "none"


# A head that flattens, an open image size, and filters of one channel.
@pytest.mark.parametrize("model", ["conv", "residual", "depthwise"], indirect=True)
def test_a_file_of_any_batch(model, images, tmp_path):
    takes = DeviceInput(dynamic_batch=True)
    files = export_student(
        model, folder=tmp_path, formats=PLAIN_FORMATS, calibration=images, takes=takes
    )
    found = verify_exports(files, model, images, calibration=images, takes=takes)
    assert [check.why for check in found] == [""] * len(PLAIN_FORMATS)
    assert [check.static for check in found] == [False] * len(PLAIN_FORMATS)
    exact = keras_logits(model, images[:7])
    runner = TFLiteRunner(files[1].path)
    np.testing.assert_allclose(runner.together(images[:7]), exact, atol=1e-4 * np.abs(exact).max())
    np.testing.assert_allclose(runner(images[:2]), exact[:2], atol=1e-4 * np.abs(exact).max())


def test_an_open_batch_is_a_fault_where_none_was_asked_for(student, images, tmp_path):
    takes = DeviceInput(dynamic_batch=True)
    files = export_student(student, folder=tmp_path, formats=["float32"], takes=takes)
    (found,) = verify_exports(files, student, images, calibration=images)
    assert not found.ok and found.why == "leaves a tensor's shape open"


def test_one_image_at_a_time_is_a_fault_where_any_number_was(student, images, tmp_path):
    files = export_student(student, folder=tmp_path, formats=["float32"])
    takes = DeviceInput(dynamic_batch=True)
    (found,) = verify_exports(files, student, images, calibration=images, takes=takes)
    assert not found.ok and "does not take 3 images at once" in found.why
