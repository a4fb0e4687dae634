import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.config import PLAIN_FORMATS as ALL
from kgraft.errors import KgraftError
from kgraft.export import TFLiteRunner, export_student, float32_bytes, verify_exports
from kgraft.export.flatbuffer import read_contents
from kgraft.export.runner import open_interpreter

from .conftest import conv_model, with_random_weights

BESIDE = ["SHA256SUMS", "preprocess.json"]
NAMES = ["cat", "größe", "a dog", "x", "y"]


def test_every_format_agrees_with_the_student_and_runs_on_built_in_ops(model, images, tmp_path):
    files = export_student(model, folder=tmp_path, formats=ALL, calibration=images)
    found = verify_exports(files, model, images, calibration=images)
    assert [check.name for check in found] == [
        "saved_model",
        "student_float32.tflite",
        "student_float16.tflite",
        "student_dynamic.tflite",
        "student_int8.tflite",
        "student_int16x8.tflite",
    ]
    for name in ("int8", "int16x8"):
        contents = read_contents((tmp_path / f"student_{name}.tflite").read_bytes())
        assert contents.float_tensors == 0
    for check in found:
        assert check.ok and not check.why
        assert check.static and check.builtin_only
        assert check.max_abs_difference <= check.tolerance * check.largest_logit
    assert found[1].max_abs_difference < 1e-4
    assert all(check.agreement >= 0.8 for check in found[3:])


@pytest.fixture(scope="module")
def in_every_format(images, tmp_path_factory):
    """The files of the student, with names for its logits; nothing changes them."""
    folder = tmp_path_factory.mktemp("every")
    student = with_random_weights(conv_model())
    files = export_student(student, folder=folder, formats=ALL, calibration=images, labels=NAMES)
    return folder, files


def test_types_and_signature_are_image_to_logits_for_one_image(in_every_format):
    folder, _ = in_every_format
    types = {"dynamic": np.float32, "int8": np.int8, "int16x8": np.int16}
    for name, wanted in types.items():
        interpreter = open_interpreter(folder / f"student_{name}.tflite")
        ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
        assert [details["dtype"] for details in ends] == [wanted] * 2
    for name in ALL[1:]:
        runner = open_interpreter(folder / f"student_{name}.tflite").get_signature_runner()
        assert list(runner.get_input_details()) == ["image"]
        assert list(runner.get_output_details()) == ["logits"]
        assert runner.get_input_details()["image"]["shape"].tolist() == [1, 12, 12, 3]
    serve = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    assert serve(image=tf.zeros((1, 12, 12, 3)))["logits"].shape == (1, 5)


def test_batchnorm_is_folded(norm_student):
    ops = read_contents(float32_bytes(norm_student)).ops
    assert ops == {"CONV_2D": 1, "FULLY_CONNECTED": 1, "MEAN": 1}


def test_sizes_and_labels(in_every_format):
    folder, files = in_every_format
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == NAMES
    sizes = {file.format: file.bytes for file in files}
    assert sizes["float32"] == (folder / "student_float32.tflite").stat().st_size
    inside = [path for path in (folder / "saved_model").rglob("*") if path.is_file()]
    assert sizes["saved_model"] == sum(path.stat().st_size for path in inside)
    assert sizes["float16"] < sizes["float32"]


def test_only_the_formats_asked_for_are_written(student, tmp_path):
    export_student(student, folder=tmp_path / "new" / "folder", formats=["float16"])
    names = sorted(os.listdir(tmp_path / "new" / "folder"))
    assert names == [*BESIDE, "student_float16.tflite"]
    assert os.listdir(tmp_path / "new") == ["folder"]


def test_the_student_is_not_changed(norm_student, images, tmp_path):
    before = norm_student.get_weights()
    norm_student.layers[1].trainable = False
    formats = ["float32", "int8"]
    export_student(norm_student, folder=tmp_path, formats=formats, calibration=images)
    assert not norm_student.layers[1].trainable and norm_student.layers[2].trainable
    for old, new in zip(before, norm_student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_student_in_bfloat16_is_exported_in_float32(images, tmp_path):
    policy = keras.DTypePolicy("mixed_bfloat16")
    image = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, dtype=policy)(image)
    x = keras.layers.GlobalAveragePooling2D(dtype=policy)(x)
    mixed = keras.Model(image, keras.layers.Dense(5, dtype=policy)(x))
    files = export_student(mixed, folder=tmp_path, formats=["float32"])
    logits = TFLiteRunner(files[0].path)(images)
    exact = keras.ops.convert_to_numpy(mixed(images)).astype(np.float32)
    np.testing.assert_allclose(logits, exact, atol=0.02)


def test_a_student_made_under_a_strategy_exports(images, tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        layers = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(5)]
        mirrored = keras.Sequential([keras.Input((12, 12, 3)), *layers])
    files = export_student(mirrored, folder=tmp_path, formats=["float32"])
    assert all(check.ok for check in verify_exports(files, mirrored, images, calibration=images))


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("formats", [["float32"], slow(["float16", "int8"])])
@pytest.mark.parametrize(
    "name",
    # MobileNetV2 is residual and depthwise; conv_model is what VGG16 is made of.
    ["MobileNetV2", *map(slow, ("VGG16", "ResNet50", "EfficientNetB0"))],
)
def test_known_architectures(name, formats, tmp_path):
    build = getattr(keras.applications, name)
    base = build(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    model = keras.Model(base.inputs, keras.layers.Dense(10)(base.outputs[0]))
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    files = export_student(model, folder=tmp_path, formats=formats, calibration=pixels)
    assert [check.why for check in verify_exports(files, model, pixels, calibration=pixels)] == [
        ""
    ] * len(files)


def test_a_second_export_replaces_the_first(student, norm_student, images, tmp_path):
    export_student(student, folder=tmp_path, formats=["saved_model", "float32"])
    files = export_student(norm_student, folder=tmp_path, formats=["float32"])
    assert all(
        check.ok for check in verify_exports(files, norm_student, images, calibration=images)
    )
    assert sorted(os.listdir(tmp_path)) == [*BESIDE, "student_float32.tflite"]


def test_a_student_that_does_not_convert_leaves_nothing(unconvertible, tmp_path):
    message = r"determined does not .* op for tf\.MatrixDeterminant; leave float32 out"
    with pytest.raises(KgraftError, match=message) as error:
        export_student(unconvertible, folder=tmp_path, formats=["saved_model", "float32"])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(student, norm_student, tmp_path, monkeypatch):
    export_student(student, folder=tmp_path, formats=["float32"])
    old = (tmp_path / "student_float32.tflite").read_bytes()

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(KgraftError, match=r"cannot write .*no space left"):
        export_student(norm_student, folder=tmp_path, formats=["float32"])
    assert (tmp_path / "student_float32.tflite").read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == [*BESIDE, "student_float32.tflite"]
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


def test_a_folder_that_is_a_file(student, tmp_path):
    path = tmp_path / "taken"
    path.write_text("")
    with pytest.raises(KgraftError, match=r"exports need a folder; .*taken: Not a directory"):
        export_student(student, folder=path, formats=["float32"])
    with pytest.raises(KgraftError, match=r"exports need a folder; .*taken/below: Not a dir"):
        export_student(student, folder=path / "below", formats=["float32"])


def test_the_bytes_of_a_teacher_without_a_fixed_size():
    image = keras.Input((None, None, 3), name="any")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    teacher = keras.Model(image, keras.layers.Dense(5)(x), name="teacher")
    with pytest.raises(KgraftError, match=r"fixed image shape; teacher takes \?x\?x3"):
        float32_bytes(teacher)
    assert TFLiteRunner(float32_bytes(teacher, (9, 9, 3))).classes == 5
