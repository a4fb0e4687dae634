import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgraft.errors import KgraftError
from kgraft.export import TFLiteRunner, export_student, float32_bytes
from kgraft.export.runner import dequantize, quantize

INT8 = {"dtype": np.int8, "quantization": (0.5, -3)}
FLOAT = {"dtype": np.float32, "quantization": (0.0, 0)}


def test_quantize_by_hand():
    values = np.array([0.0, 0.5, 0.2, -1.0, 1000.0, -1000.0])
    np.testing.assert_array_equal(quantize(values, INT8), [-3, -2, -3, -5, 127, -128])
    assert quantize(values, INT8).dtype == np.int8
    np.testing.assert_array_equal(quantize(values, FLOAT), values.astype(np.float32))


def test_dequantize_by_hand():
    steps = np.array([-128, -3, 127], np.int8)
    np.testing.assert_array_equal(dequantize(steps, INT8), [-62.5, 0, 65])
    np.testing.assert_array_equal(dequantize(np.float32([1.5]), FLOAT), [1.5])


@given(st.floats(-60, 60), st.floats(0.5, 2), st.integers(-5, 5))
def test_there_and_back_is_off_by_half_a_step(value, scale, zero_point):
    details = {"dtype": np.int8, "quantization": (scale, zero_point)}
    back = dequantize(quantize(np.array([value]), details), details)
    assert abs(float(back[0]) - value) <= scale / 2 + 1e-4


def test_logits_do_not_depend_on_the_threads(student, images):
    data = float32_bytes(student)
    alone = TFLiteRunner(data)(images)
    np.testing.assert_array_equal(TFLiteRunner(data, threads=3)(images), alone)
    np.testing.assert_allclose(alone, student(images).numpy(), atol=1e-4)
    assert alone.dtype == np.float32 and alone.shape == (24, 5)
    assert TFLiteRunner(data, threads=3)(images[:0]).shape == (0, 5)


def test_an_int8_file_gives_float_logits(student, images, tmp_path):
    files = export_student(student, folder=tmp_path, formats=["int8"], calibration=images)
    logits = TFLiteRunner(files[0].path)(images)
    exact = student(images).numpy()
    assert np.abs(logits - exact).mean() < 0.05 * np.abs(exact).max()


def test_images_of_another_shape(student):
    with pytest.raises(KgraftError, match=r"takes images of \(12, 12, 3\); got \(8, 12, 3\)"):
        TFLiteRunner(float32_bytes(student))(np.zeros((1, 8, 12, 3)))


def test_no_file_and_no_tflite_file(tmp_path):
    with pytest.raises(KgraftError, match="no TFLite file at"):
        TFLiteRunner(tmp_path / "missing.tflite")
    with pytest.raises(KgraftError, match="the model is not a TFLite file"):
        TFLiteRunner(b"nothing of the kind")
