import dataclasses
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.export import check_verified, export_student, verify_saved_model, verify_tflite
from kgraft.export.convert import write_saved_model
from kgraft.export.verify import keras_logits

TOLERANCE = 1e-4


@pytest.fixture
def path(student, tmp_path):
    return export_student(student, folder=tmp_path, formats=["float32"])[0].path


def test_a_sound_file(path, student, images):
    found = verify_tflite(path, student, images, tolerance=TOLERANCE)
    assert found.ok and found.agreement == 1 and found.images == len(images)
    assert found.ops["CONV_2D"] == 1 and found.ops["FULLY_CONNECTED"] == 1
    check_verified([found])


def test_corrupted_weights_are_caught(path, student, images):
    with open(path, "rb") as file:
        data = file.read()
    weights = student.get_layer("head").kernel.numpy().T.tobytes()
    assert data.count(weights) == 1
    with open(path, "wb") as file:
        file.write(data.replace(weights, bytes(len(weights))))
    found = verify_tflite(path, student, images, tolerance=TOLERANCE)
    assert not found.ok and "differs by" in found.why and found.agreement < 1
    with pytest.raises(KgraftError, match=r"failed their verification: student_float32\.tflite: d"):
        check_verified([found])


@pytest.mark.parametrize("keep", [0, 5, 100, 1000])
def test_a_cut_off_file_is_caught(path, student, images, keep):
    with open(path, "r+b") as file:
        file.truncate(keep)
    found = verify_tflite(path, student, images, tolerance=TOLERANCE)
    assert not found.ok and "not a TFLite file" in found.why
    assert found.max_abs_difference is None and found.agreement is None


def test_a_missing_file_is_caught(student, images, tmp_path):
    found = verify_tflite(tmp_path / "no.tflite", student, images, tolerance=TOLERANCE)
    assert not found.ok and "no TFLite file" in found.why


def test_a_float_file_is_not_full_integer(path, student, images):
    found = verify_tflite(path, student, images, tolerance=TOLERANCE, integer=True)
    assert not found.ok and "not full-integer" in found.why


def test_nan_logits_are_caught(path, student, images):
    broken = images.copy()
    broken[0] = np.nan
    assert not verify_tflite(path, student, broken, tolerance=TOLERANCE).ok


def test_flex_ops_are_named(unconvertible, tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(unconvertible, folder, (2, 2, 3))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]
        (tmp_path / "flex.tflite").write_bytes(converter.convert())
    images = np.ones((2, 2, 2, 3), np.float32)
    found = verify_tflite(tmp_path / "flex.tflite", unconvertible, images, tolerance=TOLERANCE)
    assert not found.ok and not found.builtin_only
    assert "FlexMatrixDeterminant" in found.why and "FlexMatrixDeterminant" in found.ops


def test_saved_model(student, images, tmp_path):
    path = export_student(student, folder=tmp_path, formats=["saved_model"])[0].path
    assert verify_saved_model(path, student, images, tolerance=TOLERANCE).ok
    student.get_layer("head").bias.assign_add(keras.ops.ones(5))
    assert "differs" in verify_saved_model(path, student, images, tolerance=TOLERANCE).why
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"no")
    assert "does not load" in verify_saved_model(path, student, images, tolerance=TOLERANCE).why


def test_no_images(path, student, images):
    with pytest.raises(KgraftError, match="at least one image"):
        verify_tflite(path, student, images[:0], tolerance=TOLERANCE)


def test_every_failed_file_is_named(path, student, images):
    sound = verify_tflite(path, student, images, tolerance=TOLERANCE)
    bad = [dataclasses.replace(sound, name=name, ok=False, why="broken") for name in "ab"]
    with pytest.raises(KgraftError, match=r"verification: a: broken; b: broken$"):
        check_verified([sound, *bad])


def test_a_model_in_lists_is_compared_without_a_warning(student, images, recwarn):
    listed = keras.Model([student.inputs[0]], [student.outputs[0]])
    assert keras_logits(listed, images).shape == (24, 5)
    assert not recwarn.list
