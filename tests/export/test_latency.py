import time

import pytest

from kgraft.errors import KgraftError
from kgraft.export import (
    DeviceInput,
    float32_bytes,
    latency,
    measure_latencies,
    measure_timings,
)
from kgraft.export.onnx_file import onnx_bytes

from .conftest import SHAPE


def milliseconds(model, **settings):
    """Median milliseconds of one file."""
    return measure_latencies({"it": model}, **settings)["it"]


def test_milliseconds_of_a_file(student, tmp_path):
    path = tmp_path / "student.tflite"
    path.write_bytes(float32_bytes(student))
    assert 0 < milliseconds(path, runs=5) < 1000


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_milliseconds_of_an_onnx_file(student, tmp_path, dynamic_batch):
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    path = tmp_path / "student.onnx"
    path.write_bytes(onnx_bytes(student, SHAPE, DeviceInput(dynamic_batch=dynamic_batch)))
    assert 0 < milliseconds(path, runs=5) < 1000


def test_an_onnx_file_that_does_not_take_one_image(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, path = onnx.helper, tmp_path / "add.onnx"
    ends = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "abc"]
    graph = make.make_graph([make.make_node("Add", ["a", "b"], ["c"])], "g", ends[:2], ends[2:])
    opset = [make.make_opsetid("", 15)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    with pytest.raises(KgraftError, match=r"must take one tensor\(float\), an image; it takes te"):
        milliseconds(path)


def test_files_keep_their_names_and_order(student, norm_student):
    models = {"b": float32_bytes(student), "a": float32_bytes(norm_student)}
    assert list(measure_latencies(models, runs=5)) == ["b", "a"]
    assert measure_latencies({}) == {}


def test_the_median_is_in_milliseconds(student, monkeypatch):
    data = float32_bytes(student)
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 1000)
    assert milliseconds(data, runs=10) == pytest.approx(1)


def test_median_and_tail(student, monkeypatch):
    data = float32_bytes(student)
    bursts = iter([[9.0] * 3, [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    monkeypatch.setattr(latency, "_timed_runs", lambda *_: [ms / 1000 for ms in next(bursts)])
    timing = measure_timings({"": data}, threads=2, runs=5)[""]
    assert (timing.threads, timing.runs) == (2, 5)
    assert timing.median_ms == timing.mean_ms == timing.typical_ms == pytest.approx(3)
    assert timing.p95_ms == pytest.approx(4.8)


def test_it_stops_in_time(student, monkeypatch):
    data, counts = float32_bytes(student), []
    monkeypatch.setattr(
        latency, "_timed_runs", lambda _, count: counts.append(count) or [0.1] * count
    )
    milliseconds(data, runs=1000, seconds=0)
    assert counts == [3, 6]  # the warm-up and one burst


def test_no_file(tmp_path):
    with pytest.raises(KgraftError, match="no TFLite file"):
        milliseconds(tmp_path / "no.tflite")
