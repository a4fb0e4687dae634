import dataclasses
import re
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from kgraft.config import PLAIN_FORMATS as ALL
from kgraft.errors import KgraftError
from kgraft.export import (
    Demands,
    Reference,
    check_verified,
    export_student,
    float32_bytes,
    keras_logits,
    verify_exports,
)
from kgraft.export import verify_saved_model as held_saved_model
from kgraft.export import verify_tflite as held_tflite
from kgraft.export.convert import write_saved_model
from kgraft.export.names import INPUT_NAME, OUTPUT_NAME, SIGNATURE
from kgraft.export.records import DeviceInput

TOLERANCE = 1e-4


def verify_tflite(path, student, images, **demands):
    return held_tflite(path, Reference(keras_logits(student, images), images), Demands(**demands))


def verify_saved_model(path, student, images, **demands):
    reference = Reference(keras_logits(student, images), images)
    return held_saved_model(path, reference, Demands(**demands))


@pytest.fixture
def path(plain, tmp_path):
    """A copy of the student's float32 file, to be changed."""
    path = tmp_path / "student_float32.tflite"
    path.write_bytes(plain)
    return str(path)


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


@pytest.mark.parametrize("broken", ["__init__", "noise"])
def test_layers_that_cannot_be_read_are_a_fault_of_the_file(path, student, images, broken):
    """Delegates hide what plain kernels refuse, and kernels raise what is no error of ours."""
    float32 = float32_bytes(student)
    if broken == "__init__":
        other = b"no file"
    else:
        image = keras.Input((9, 9, 3))
        other = float32_bytes(
            keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(image)))
        )
    logits = keras_logits(student, images)
    sound = held_tflite(path, Reference(logits, images, float32), Demands(1e-4, noise=True))
    assert sound.ok, sound.why
    found = held_tflite(path, Reference(logits, images, other), Demands(1e-4, noise=True))
    assert not found.ok and "does not run without delegates" in found.why
    assert found.agreement == 1 and found.layers == ()


def test_another_number_of_logits_is_a_fault(path, student, images):
    logits = keras_logits(student, images)
    for more in (np.pad(logits, ((0, 0), (0, 2))), logits[:, :3]):
        found = held_tflite(path, Reference(more, images), Demands(1e-4))
        assert not found.ok and found.max_abs_difference is None
        assert found.why == f"makes logits (24, 5), the student {more.shape}"


def test_weights_without_a_partner_fail_the_file(student, images, tmp_path):
    kl = keras.layers
    image = keras.Input((12, 12, 3))
    x = kl.Conv2D(8, 3, activation="relu")(image)
    x = kl.Conv2D(8, 1, name="more")(kl.MaxPooling2D()(x))
    other = keras.Model(image, kl.Dense(5, name="head")(kl.Flatten()(x)))
    files = export_student(other, folder=tmp_path, formats=["float32", "int8"], calibration=images)
    fault = "layers with weights that cannot be compared with the student's, the first"
    checks = verify_exports(files, student, images, calibration=images)
    assert len(checks) == 2
    for found in checks:
        assert not found.ok and fault in found.why


def test_a_saved_model_that_takes_something_else(student, images, tmp_path):
    path = export_student(student, folder=tmp_path, formats=["saved_model"])[0].path
    reference = Reference(keras_logits(student, images), images[:, :5])
    found = held_saved_model(path, reference, Demands(TOLERANCE))
    assert not found.ok and found.why.startswith("does not run: ") and "\n" not in found.why


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


class Forgetful(tf.Module):
    """Says of the first image what a student does, and of the others nothing."""

    def __init__(self, student):
        super().__init__()
        self.student = student

    @tf.function(input_signature=[tf.TensorSpec([None, 12, 12, 3], name=INPUT_NAME)])
    def __call__(self, image):
        logits = self.student(image)
        return {OUTPUT_NAME: tf.concat([logits[:1], tf.zeros_like(logits[1:])], axis=0)}


def test_a_saved_model_of_an_open_batch_is_asked_of_several_images(student, images, tmp_path):
    open_batch = {"tolerance": TOLERANCE, "dynamic_batch": True}
    folder = tmp_path / "open"
    path = export_student(
        student, folder=folder, formats=["saved_model"], takes=DeviceInput(dynamic_batch=True)
    )[0].path
    found = verify_saved_model(path, student, images, **open_batch)
    assert found.ok and not found.static
    forgetful = Forgetful(student)
    path = str(tmp_path / "forgetful")
    tf.saved_model.save(forgetful, path, signatures={SIGNATURE: forgetful.__call__})
    assert verify_saved_model(path, student, images, tolerance=TOLERANCE).ok
    found = verify_saved_model(path, student, images, **open_batch)
    assert not found.ok and "when it gets 3 images at once" in found.why
    path = export_student(student, folder=tmp_path / "one", formats=["saved_model"])[0].path
    assert not verify_saved_model(path, student, images, **open_batch).ok


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


def swapped(model, order):
    """A twin whose first convolution takes the image's channels in another order."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    first = next(layer for layer in twin.layers if isinstance(layer, keras.layers.Conv2D))
    first.kernel.assign(first.kernel.numpy()[:, :, order])
    return twin


def test_swapped_channels_are_caught(student, images, tmp_path):
    wrong = swapped(student, [2, 1, 0])
    files = export_student(wrong, folder=tmp_path, formats=ALL[1:], calibration=images)
    checks = verify_exports(files, student, images, calibration=images)
    assert len(checks) == 5
    for found in checks:
        assert not found.ok
        # The biases behind are corrected for what reaches them.
        assert re.search("holds other weights than the student in [12] layers, most in ", found.why)
    sound = verify_exports(files, wrong, images, calibration=images)
    assert [check.why for check in sound] == [""] * 5


def corrupt(path, wanted):
    """Turns the sign bit of the largest weight of the first tensor that `wanted` picks."""
    data = bytearray(path.read_bytes())
    model = schema.Model.GetRootAs(data, 0)
    tensors = [model.Subgraphs(0).Tensors(i) for i in range(model.Subgraphs(0).TensorsLength())]
    tensor = next(t for t in tensors if wanted(t) and model.Buffers(t.Buffer()).DataLength())
    values = model.Buffers(tensor.Buffer()).DataAsNumpy().view(np.int8)
    place = int(np.abs(values.astype(int)).argmax())
    start = np.frombuffer(data, np.uint8).ctypes.data
    data[values.ctypes.data - start + place] ^= 0x80
    path.write_bytes(data)


def test_one_corrupted_weight_of_many_is_caught(images, tmp_path):
    wide = keras.Sequential([
        keras.Input((12, 12, 3)),
        keras.layers.Conv2D(64, 3, activation="relu", name="wide"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5),
    ])
    names = ["dynamic", "int8", "int16x8"]
    files = export_student(wide, folder=tmp_path, formats=names, calibration=images)
    for name in names:
        corrupt(
            tmp_path / f"student_{name}.tflite",
            lambda t: t.Type() == schema.TensorType.INT8 and t.ShapeLength() == 4,
        )
    checks = verify_exports(files, wide, images, calibration=images)
    assert len(checks) == 3
    for found in checks:
        assert not found.ok
        assert found.why.startswith("holds other weights than the student in 1 layers")
        assert "wide" in found.why
        # The answers alone would have passed: one weight of 1,728 hardly moves them.
        assert found.max_abs_difference < found.tolerance * found.largest_logit


def test_quantised_files_tell_their_noisiest_layers(student, images, tmp_path):
    files = export_student(student, folder=tmp_path, calibration=images, formats=ALL)
    found = {
        check.name: check for check in verify_exports(files, student, images, calibration=images)
    }
    for name in ("saved_model", "student_float32.tflite", "student_float16.tflite"):
        assert found[name].layers == ()
    for name in ("int8", "int16x8"):
        layers = found[f"student_{name}.tflite"].layers
        assert len(layers) == 4 and layers[0].snr_db > 10
    # The converter leaves weights of fewer than 1,024 numbers as they are.
    assert [layer.snr_db for layer in found["student_dynamic.tflite"].layers] == [None] * 4


def test_too_little_agreement_fails_by_name_and_figures(student, images, tmp_path):
    files = export_student(student, folder=tmp_path, calibration=images, formats=["int8"])
    agreement = verify_exports(files, student, images, calibration=images)[0].agreement
    (passed,) = verify_exports(files, student, images, calibration=images, min_agreement=agreement)
    assert passed.ok
    (found,) = verify_exports(files, student, images, calibration=images, min_agreement=1.01)
    message = (
        f"student_int8.tflite: agrees with the student on {100 * agreement:.2f} % of 24 "
        "held-out views, less than --min_agreement=1.01"
    )
    assert f"{found.name}: {found.why}" == message
    with pytest.raises(KgraftError, match=r"verification: student_int8\.tflite: agrees"):
        check_verified([found])
