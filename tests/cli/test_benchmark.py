import json
import sys

import keras
import pytest

from kgraft.cli import benchmark
from kgraft.export import float32_bytes


def called(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    with pytest.raises(SystemExit) as stop:
        benchmark.main()
    return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected .tflite files to measure, or --read=FILE; got neither"),
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


def test_measures_prints_writes_and_reads_back(monkeypatch, capsys, tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    path, results = tmp_path / "net.tflite", tmp_path / "results.json"
    path.write_bytes(float32_bytes(keras.Model(image, keras.layers.Dense(3)(x))))
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
    table = told.out.split("\n\n")[0].strip()
    code, told = called(monkeypatch, capsys, f"--read={results}")
    assert code == 0 and told.out.strip() == table
