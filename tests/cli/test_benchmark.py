import json
import pathlib
import sys

import keras
import numpy as np
import pytest

from kgraft.cli import benchmark
from kgraft.export import DeviceInput, export_student, float32_bytes
from kgraft.pipeline import benchmarking


def called(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    with pytest.raises(SystemExit) as stop:
        benchmark.main()
    return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected .tflite, .onnx or .keras files to measure, or --read=FILE; got neither"),
        (("a.tflite", "--threads=0"), "--threads must be whole numbers above 0 or all, separated"),
        (("a.tflite", "--threads=1,x"), "--threads must be whole numbers above 0 or all, separ"),
        (("a.tflite", "--runs=0"), "--runs must be at least 1; got 0"),
        (("a.tflite", "--tool=adb"), "--tool must be one of auto, none; got 'adb'"),
    ],
)
def test_what_is_refused_and_why(monkeypatch, capsys, arguments, message):
    code, told = called(monkeypatch, capsys, *arguments)
    assert code == 2 and told.err.startswith(f"kgraft-benchmark: error: {message}")


def test_help_names_the_files(monkeypatch, capsys):
    code, told = called(monkeypatch, capsys, "--help")
    assert code == 0
    assert told.out.startswith("usage: kgraft-benchmark FILE ... [--flagfile=FILE]")


def test_a_missing_file_is_one_line(monkeypatch, capsys):
    code, told = called(monkeypatch, capsys, "nowhere.tflite")
    assert code == 1
    assert told.err.endswith("kgraft-benchmark: error: no TFLite file at nowhere.tflite\n")


def net(path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    path.write_bytes(float32_bytes(keras.Model(image, keras.layers.Dense(3)(x))))
    return path


def test_where_the_results_go_is_checked_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    def never(*arguments, **settings):
        raise AssertionError("measured")

    monkeypatch.setattr(benchmarking, "measure", never)
    path = net(tmp_path / "net.tflite")
    for output, message in {
        tmp_path / "no" / "b.json": f"must be in an existing folder; {tmp_path}/no is none",
        tmp_path: "must be a file; it is a folder",
    }.items():
        code, told = called(monkeypatch, capsys, str(path), f"--output={output}")
        assert code == 1
        assert told.err.endswith(f"kgraft-benchmark: error: --output={output} {message}\n")


def test_the_table_is_printed_though_it_cannot_be_written(monkeypatch, capsys, tmp_path):
    results = tmp_path / "results.json"
    results.write_text("older")

    def full(self, *arguments, **settings):
        raise OSError(28, "No space left on device")

    path = net(tmp_path / "net.tflite")
    monkeypatch.setattr(pathlib.Path, "write_text", full)
    flags = ("--threads=1", "--runs=5", "--tool=none", f"--output={results}")
    code, told = called(monkeypatch, capsys, str(path), *flags)
    assert code == 1 and told.out.splitlines()[2].startswith("| net.tflite |")
    assert told.err.endswith(f"--output={results} cannot be written: No space left on device\n")
    assert results.read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.tflite", "results.json"]


def test_a_file_of_any_batch_is_measured_and_noted(monkeypatch, capsys, tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    images = np.random.default_rng(0).uniform(0, 1, (4, 8, 8, 1)).astype(np.float32)
    takes = DeviceInput(dynamic_batch=True)
    folder = tmp_path / "export"
    export_student(model, folder=folder, formats=["int8"], calibration=images, takes=takes)
    path = folder / "student_int8.tflite"
    flags = ("--threads=1", "--runs=5", "--tool=none")
    code, told = called(monkeypatch, capsys, str(path), *flags)
    assert code == 0 and "student_int8.tflite: has open shapes; export it without" in told.out


def test_measures_prints_writes_and_reads_back(monkeypatch, capsys, tmp_path):
    path, results = net(tmp_path / "net.tflite"), tmp_path / "results.json"
    code, told = called(
        monkeypatch,
        capsys,
        str(path),
        "--threads=1",
        "--runs=6",
        "--tool=none",
        f"--output={results}",
    )
    assert code == 0
    assert told.out.splitlines()[2].startswith("| net.tflite |")
    assert f"adb push {path} /data/local/tmp" in told.out
    assert "net.tflite: has floating-point tensors; export int8" in told.out
    written = json.loads(results.read_text())
    assert written["rows"][0]["timings"][0]["threads"] == 1
    *figures, by = told.out.splitlines()[2].strip("| ").split("|")
    code, told = called(monkeypatch, capsys, f"--read={results}")
    assert code == 0
    *again, read = told.out.splitlines()[2].strip("| ").split("|")
    assert again == figures and read == f"{by}, read from {results}"
