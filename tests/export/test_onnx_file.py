"""ONNX files: what they say, what is caught, and what is said where the extra is not there."""

import os
import sys

import keras
import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.export import DeviceInput, OnnxRunner, export_student, keras_logits, verify_exports
from kgraft.export.onnx_file import onnx_bytes

from .conftest import SHAPE, conv_model, with_random_weights


@pytest.fixture
def extra():
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)


@pytest.fixture
def exported(extra, student, images, tmp_path):
    (file,) = export_student(student, folder=tmp_path, formats=["onnx"], calibration=images)
    return file


def test_every_student_is_verified(extra, model, images, tmp_path):
    files = export_student(model, folder=tmp_path, formats=["onnx"], calibration=images)
    (found,) = verify_exports(files, model, images)
    assert found.ok, found.why
    assert (found.name, found.agreement, found.images) == ("student.onnx", 1.0, 24)
    assert found.static and found.builtin_only and found.layers == ()
    assert found.ops["Conv"] >= 1
    assert found.max_abs_difference < 1e-4 * found.largest_logit


def test_what_the_folder_holds_and_the_ends_are_called(exported, images, tmp_path):
    assert sorted(os.listdir(tmp_path)) == ["SHA256SUMS", "preprocess.json", "student.onnx"]
    assert exported.bytes == (tmp_path / "student.onnx").stat().st_size
    session = OnnxRunner(exported.path)._session
    ends = [(end.name, end.shape) for end in (*session.get_inputs(), *session.get_outputs())]
    assert ends == [("image", [1, *SHAPE]), ("logits", [1, 5])]


def test_threads_do_not_change_what_is_said(exported, student, images):
    one, three = (OnnxRunner(exported.path, threads)(images) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    np.testing.assert_allclose(one, keras_logits(student, images), atol=1e-4)


def test_any_number_of_images_and_preprocessing_inside(extra, student, images, tmp_path):
    takes = DeviceInput(preprocess="unit", inside=True, dynamic_batch=True)
    files = export_student(
        student, folder=tmp_path, formats=["onnx", "saved_model"], takes=takes, calibration=images
    )
    pixels = np.round(127 * (images + 1))
    (found, _) = verify_exports(files, student, pixels / 255, takes=takes, given=pixels)
    assert found.ok, found.why
    assert not found.static
    runner = OnnxRunner(files[0].path)
    np.testing.assert_allclose(runner.together(pixels), runner(pixels), atol=1e-4)
    assert runner._session.get_inputs()[0].shape[0] == "batch"
    (fixed,) = verify_exports(files[:1], student, pixels / 255, given=pixels)
    assert fixed.why == "leaves a tensor's shape open"


def test_a_wrong_weight_is_caught(exported, images):
    other = with_random_weights(conv_model(), seed=1)
    (found,) = verify_exports([exported], other, images)
    assert not found.ok and found.why.startswith("differs by")


@pytest.mark.parametrize("keep", [0, 100])
def test_a_cut_off_file_is_caught(exported, student, images, keep):
    with open(exported.path, "r+b") as file:
        file.truncate(keep)
    (found,) = verify_exports([exported], student, images)
    assert not found.ok and found.why.startswith("ONNX Runtime cannot run")
    assert "\n" not in found.why and found.agreement is None
    os.remove(exported.path)
    (found,) = verify_exports([exported], student, images)
    assert found.why.startswith("no ONNX file at")


def test_too_little_agreement_fails(exported, student, images):
    (found,) = verify_exports([exported], student, images, min_agreement=1.01)
    assert "agrees with the student on 100.00 % of 24 held-out views" in found.why


def test_ops_that_are_not_of_the_standard_are_named(exported, student, images):
    import onnx

    proto = onnx.load(exported.path)
    relu = next(node for node in proto.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "FusedMatMul", "com.microsoft"
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    relu.input.append(relu.input[0])
    onnx.save(proto, exported.path)
    (found,) = verify_exports([exported], student, images)
    assert not found.ok and not found.builtin_only
    assert "has ops that are not of the ONNX standard: FusedMatMul" in found.why


def test_a_student_that_does_not_convert_leaves_nothing(extra, tmp_path):
    image = keras.Input((4, 4, 3))
    x = keras.ops.erfinv(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, keras.layers.Dense(5)(x), name="strange")
    message = "strange does not convert to ONNX: the standard has no op for Erfinv; leave onnx out"
    with pytest.raises(KgraftError, match=message):
        export_student(model, folder=tmp_path, formats=["onnx"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("package", ["tf2onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(student, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = r"--formats=onnx needs tf2onnx, onnx and onnxruntime, .* pip install '\.\[onnx\]'"
    with pytest.raises(KgraftError, match=message):
        export_student(student, folder=tmp_path / "a", formats=["onnx"])
    assert not (tmp_path / "a").exists()
    with pytest.raises(KgraftError, match=message):
        onnx_bytes(student, SHAPE)


def test_running_a_file_needs_the_runtime_alone(exported, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert OnnxRunner(exported.path)(images).shape == (24, 5)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(KgraftError, match=r"student\.onnx needs onnxruntime, which is not install"):
        OnnxRunner(exported.path)
