import os
import shutil

import keras
import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.export import TFLiteRunner, float32_bytes, litert_tool
from kgraft.export.onnx_file import onnx_bytes
from kgraft.pipeline import benchmarking
from kgraft.pipeline.benchmarking import measure, open_files, peak_memory, thread_counts


def model(width=4):
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(width, 3)(image))
    return keras.Model(image, keras.layers.Dense(3)(x))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    model().save(folder / "net.keras")
    (folder / "a.tflite").write_bytes(float32_bytes(model()))
    (folder / "other").mkdir()
    (folder / "other" / "a.tflite").write_bytes(float32_bytes(model(64)))
    return folder


@pytest.fixture
def files(made, tmp_path):
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def test_keras_files_are_converted_and_names_stay_apart(files, tmp_path):
    given = [str(files / name) for name in ("a.tflite", "net.keras", "other/a.tflite")]
    teacher = str(files / "net.keras")
    found = open_files(given, teacher=teacher, scratch=tmp_path)
    assert list(found) == ["teacher_float32.tflite", "a.tflite", "net.tflite", given[2]]
    assert found["net.tflite"].read_bytes()[4:8] == b"TFL3"


def test_models_of_one_name_do_not_overwrite_each_other(files, tmp_path):
    model(64).save(files / "other" / "net.keras")
    model(16).save(files / "teacher_float32.keras")
    given = [str(files / n) for n in ("net.keras", "other/net.keras", "teacher_float32.keras")]
    found = open_files(given, teacher=str(files / "net.keras"), scratch=tmp_path)
    assert list(found) == ["teacher_float32.tflite", "net.tflite", given[1], given[2]]
    sizes = [path.stat().st_size for path in found.values()]
    assert len({*found.values()}) == 4
    assert sizes[0] < sizes[3] < sizes[2]
    assert abs(sizes[0] - sizes[1]) < 100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.tflite", "no TFLite file at"),
        ("net.h5", r"expected \.tflite, \.onnx or \.keras files; got .*net\.h5"),
        ("spoilt.tflite", "is not a TFLite file"),
        ("no.keras", "no.keras"),
        ("no.onnx", "no ONNX file at"),
    ],
)
def test_files_that_cannot_be_measured(files, tmp_path, name, message):
    (files / "spoilt.tflite").write_bytes(b"nothing")
    with pytest.raises(KgraftError, match=message):
        open_files([str(files / name)], teacher=None, scratch=tmp_path)


def test_a_file_given_thrice(files, tmp_path):
    path = str(files / "a.tflite")
    with pytest.raises(KgraftError, match=r"a\.tflite is given twice"):
        open_files([path] * 3, teacher=None, scratch=tmp_path)


@pytest.mark.parametrize("own_tool", [True, False])
def test_rows_hold_all_figures(files, own_tool, monkeypatch):
    monkeypatch.setattr(litert_tool, "_TELLING_MS", 0)
    paths = {"small": files / "a.tflite", "large": files / "other" / "a.tflite"}
    small, large = measure(paths, threads=(1, 2), runs=9, own_tool=own_tool)
    assert (small.name, large.name) == ("small", "large")
    assert small.bytes == paths["small"].stat().st_size < large.bytes
    assert [timing.threads for timing in large.timings] == [1, 2]
    assert all(timing.runs >= 9 for timing in large.timings)
    assert 0 < small.peak_memory_mb < 500
    assert (small.measured_by == benchmarking.IN_PROCESS) != own_tool


def test_where_the_tool_fails_everything_is_measured_in_process(files, monkeypatch, capsys):
    def fail(*arguments, **settings):
        raise KgraftError("litert-benchmark failed on b")

    monkeypatch.setattr(benchmarking, "time_by_tool", fail)
    (row,) = measure({"a": files / "a.tflite"}, threads=(1,), runs=5, own_tool=True)
    assert row.measured_by == benchmarking.IN_PROCESS
    assert "failed on b; measuring all in process instead" in capsys.readouterr().err


def test_where_the_tool_has_too_few_digits_everything_is_measured_in_process(files, capsys):
    (row,) = measure({"a": files / "a.tflite"}, threads=(1,), runs=5, own_tool=True)
    assert row.measured_by == benchmarking.IN_PROCESS
    # 0.01 ms steps could not tell this one from another.
    assert row.timings[0].median_ms < 1
    told = capsys.readouterr().err
    assert "litert-benchmark rounds to 0.01 ms, too coarse for a at 0." in told


def test_a_larger_file_takes_more_memory(tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(image))
    large = keras.Model(image, keras.layers.Dense(40_000)(x))
    for name, made in {"small": model(), "large": large}.items():
        (tmp_path / name).write_bytes(float32_bytes(made))
    small, heavy = (peak_memory(tmp_path / name, threads=1) for name in ("small", "large"))
    # 144 x 40,000 weights of 4 bytes.
    assert heavy - small > 0.8 * 144 * 40_000 * 4 / 2**20


def test_the_memory_of_no_file(tmp_path):
    with pytest.raises(KgraftError, match=r"measuring the memory of .* failed: ValueError"):
        peak_memory(tmp_path / "no.tflite", threads=1)


def test_onnx_files_are_measured_in_turns_with_the_others(files, tmp_path):
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    (files / "net.onnx").write_bytes(onnx_bytes(model(64), (8, 8, 1)))
    given = [str(files / name) for name in ("a.tflite", "net.onnx")]
    found = open_files(given, teacher=None, scratch=tmp_path)
    rows = measure(found, threads=(1, 2), runs=5, own_tool=True)
    assert [row.name for row in rows] == ["a.tflite", "net.onnx"]
    # LiteRT's tool does not know ONNX, and figures of two tools are not to be compared.
    assert {row.measured_by for row in rows} == {benchmarking.IN_PROCESS}
    onnx = rows[1]
    assert onnx.bytes == (files / "net.onnx").stat().st_size
    assert [(timing.threads, timing.runs) for timing in onnx.timings] == [(1, 5), (2, 5)]
    assert all(0 < timing.median_ms < 1000 for timing in onnx.timings)
    assert 0 < onnx.peak_memory_mb < 500


def test_an_onnx_file_that_is_none(files, tmp_path):
    pytest.importorskip("onnxruntime")
    (files / "spoilt.onnx").write_bytes(b"nothing")
    with pytest.raises(KgraftError, match=r"ONNX Runtime cannot run .*spoilt\.onnx"):
        open_files([str(files / "spoilt.onnx")], teacher=None, scratch=tmp_path)


def test_thread_counts():
    cores = os.cpu_count()
    assert thread_counts("3,1") == (3, 1)
    assert thread_counts("all") == (cores,)
    assert thread_counts(f"{cores},all") == (cores,)


def test_a_teacher_of_probabilities_is_timed_as_it_is(tmp_path):
    made = model()
    squares = keras.ops.square(made.outputs[0]) + 0.1
    shares = squares / keras.ops.sum(squares, axis=-1, keepdims=True)
    keras.Model(made.inputs, shares).save(tmp_path / "shares.keras")
    found = open_files([], teacher=str(tmp_path / "shares.keras"), scratch=tmp_path)
    logits = TFLiteRunner(found["teacher_float32.tflite"])(np.zeros((2, 8, 8, 1), np.float32))
    np.testing.assert_allclose(logits.sum(1), 1, rtol=1e-5)
