"""Files that ai-edge-quantizer makes, and what is said where it is not there."""

import sys

import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.export import export_student, verify_exports
from kgraft.export import student as student_module
from kgraft.export.runner import load_interpreter

FORMATS = ("aeq_int8", "aeq_int4", "aeq_mixed")


def types(path):
    """How many weights a file holds of each type, by the type's name."""
    interpreter = load_interpreter(path)
    details = interpreter.get_tensor_details()
    return {np.dtype(detail["dtype"]).name for detail in details}


def test_every_recipe_is_verified(model, images, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    files = export_student(model, folder=tmp_path, formats=FORMATS, calibration=images)
    found = verify_exports(files, model, images)
    assert [check.why for check in found] == [""] * 3
    assert all(check.layers for check in found)
    # int8 rounds sixteen times as finely.
    assert found[0].mean_abs_difference < found[1].mean_abs_difference


def test_the_float32_file_is_converted_once(student, images, tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_quantizer")
    made = []
    original = student_module.tflite_bytes

    def noted(saved_model, name, calibration):
        made.append(name)
        return original(saved_model, name, calibration)

    monkeypatch.setattr(student_module, "tflite_bytes", noted)
    formats = ("aeq_int4", "float32", "aeq_mixed")
    export_student(student, folder=tmp_path, formats=formats, calibration=images)
    assert made == ["float32"]


def test_int4_takes_half_the_bytes(student, images, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    names = ("aeq_int8", "aeq_int4", "aeq_mixed")
    eight, four, mixed = export_student(student, folder=tmp_path, formats=names, calibration=images)
    assert "float32" not in types(eight.path)
    assert four.bytes < mixed.bytes < eight.bytes


def test_ranges_hold_every_image(student, images, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    # The image that says the most comes first, which a running mean would have forgotten.
    calibration = np.concatenate([images[:1] * 20, images])
    (file,) = export_student(
        student, folder=tmp_path, formats=["aeq_int8"], calibration=calibration
    )
    (found,) = verify_exports([file], student, calibration)
    assert found.ok, found.why


def test_a_missing_package_is_named(student, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(KgraftError, match=r"--formats=aeq_int4 needs ai-edge-quantizer, which is"):
        export_student(student, folder=tmp_path / "a", formats=["aeq_int4"], calibration=images)
    assert not (tmp_path / "a").exists()
