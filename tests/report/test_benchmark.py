import dataclasses
import json

import pytest

from kgraft.errors import KgraftError
from kgraft.export import Timing
from kgraft.report import BenchmarkRow, benchmark_json, benchmark_table, read_benchmark

TEACHER = BenchmarkRow(
    "teacher.tflite",
    2_000_000,
    (Timing(1, 0.5, 0.75, 0.6, 100), Timing(2, 0.25, 0.5, 0.3, 100)),
    8.25,
    "LiteRT",
)
STUDENT = BenchmarkRow("student.tflite", 200_000, (Timing(1, 0.1, 0.2, 0.1, 100),), None, "LiteRT")
PHONE = BenchmarkRow("student.tflite", None, (Timing(1, None, None, 0.2, 50),), 3.0, "phone")
TIMING = {"threads": 1, "median_ms": 0.1, "p95_ms": 0.2, "mean_ms": 0.1, "runs": 9}


def cells(rows):
    lines = benchmark_table(rows).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_ratios_are_to_the_first():
    headings, _, teacher, student, phone = cells([TEACHER, STUDENT, PHONE])
    assert headings[:6] == [
        "file",
        "size (kB)",
        "times smaller",
        "ms, 1 thread",
        "p95",
        "times faster",
    ]
    assert headings[6] == "ms, 2 threads"
    assert teacher[1:9] == ["2,000.0", "1.00", "0.500", "0.750", "1.00", "0.250", "0.500", "1.00"]
    assert student[1:9] == ["200.0", "10.00", "0.100", "0.200", "5.00", "-", "-", "-"]
    assert phone[1:6] == ["-", "-", "0.200 mean", "-", "1.00"]
    assert teacher[9:] == ["8.2", "LiteRT"] and phone[9:] == ["3.0", "phone"]


def test_ratios_stay_within_one_means_and_one_statistic():
    other = dataclasses.replace(PHONE, timings=(Timing(1, None, None, 0.1, 50),))
    median = dataclasses.replace(PHONE, timings=(Timing(1, 0.1, 0.1, 0.1, 50),))
    *_, teacher, phone, half, unlike = cells([TEACHER, PHONE, other, median])
    assert [line[5] for line in (teacher, phone, half, unlike)] == ["1.00", "1.00", "2.00", "-"]


def test_what_is_written_can_be_read_back(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(benchmark_json([TEACHER, PHONE]))
    found = read_benchmark(path)
    # Never taken for what is measured now, here, nor for each other.
    by = [f"{row.measured_by}, read from {path}" for row in (TEACHER, PHONE)]
    assert [row.measured_by for row in found] == by
    assert [dataclasses.replace(row, measured_by="") for row in found] == [
        dataclasses.replace(row, measured_by="") for row in (TEACHER, PHONE)
    ]


LATENCY = {"median_ms": 1.5, "p95_ms": 2.0, "avg_ms": 1.6, "num_runs": 50}


def test_the_json_of_litert_benchmark(tmp_path):
    result = {"model": "/data/local/tmp/a.tflite", "num_threads": 4, "latency": LATENCY}
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(result))
    expected = BenchmarkRow(
        "a.tflite", None, (Timing(4, 1.5, 2.0, 1.6, 50),), None, "litert-benchmark, read"
    )
    assert read_benchmark(path) == (expected,)
    path.write_text(json.dumps([result, result]))
    assert read_benchmark(path) == (expected, expected)


LOG = """INFO: STARTING!
INFO: Graph: [/data/local/tmp/{name}]
INFO: count=50 first=1 curr=1 min=1 max=9 avg=2000 std=4 p5=1 median=1900 p95=2500
INFO: Inference timings in us: Init: 1, First inference: 1, Warmup (avg): 1, Inference (avg): 2000
"""


def test_logs_of_benchmark_model_one_file_or_several(tmp_path):
    path = tmp_path / "phone.log"
    path.write_text(LOG.format(name="a.tflite") + LOG.format(name="b.tflite"))
    first, second = read_benchmark(path)
    assert (first.name, second.name) == ("a.tflite", "b.tflite")
    assert first.timings == (Timing(1, 1.9, 2.5, 2.0, 50),)
    path.write_text(LOG.split("\n", 2)[2])
    (unnamed,) = read_benchmark(path)
    assert unnamed.name == "phone"


def test_what_the_linker_said_before_is_no_log(tmp_path):
    path = tmp_path / "phone.log"
    said = "WARNING: linker: /data/local/tmp/benchmark_model: unsupported flags\n"
    log = LOG.format(name="a.tflite")
    path.write_text(said + log + said + LOG.format(name="b.tflite"))
    assert [row.name for row in read_benchmark(path)] == ["a.tflite", "b.tflite"]
    # A log whose own beginning is lost is none of that.
    path.write_text(LOG.split("\n", 2)[2] + log)
    assert [row.name for row in read_benchmark(path)] == ["phone", "a.tflite"]
    # A run that broke off is an error, not left out.
    path.write_text(said + log + "INFO: STARTING!\nERROR: no such file\n")
    with pytest.raises(KgraftError, match="with a line of inference timings"):
        read_benchmark(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]x",
        '{"rows": [{}]}',
        "no devices found",
        "[1]",
        '{"latency": {}}',
        "[]",
        '{"rows": []}',
        "[" * 100_000,
    ],
)
def test_what_is_none_of_these(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(KgraftError, match=r"--read=.*x\.json must be the JSON of kgraft-bench"):
        read_benchmark(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": "x"}, "expected a number; got 'x'"),
        ({"peak_memory_mb": float("nan")}, "expected a number; got nan"),
        ({"name": None}, "expected the name of a file; got None"),
        ({"timings": [{**TIMING, "threads": "1"}]}, "expected a number; got '1'"),
        ({"timings": [{**TIMING, "mean_ms": None}]}, "a timing lacks its threads or its mean"),
    ],
)
def test_values_that_no_table_can_show(tmp_path, changes, message):
    path = tmp_path / "x.json"
    row = {"name": "a", "bytes": 1, "timings": [TIMING], "peak_memory_mb": 1, "measured_by": "b"}
    path.write_text(json.dumps({"rows": [row]}))
    assert read_benchmark(path)[0].name == "a"
    path.write_text(json.dumps({"rows": [row | changes]}))
    with pytest.raises(KgraftError, match=f"output of benchmark_model: {message}"):
        read_benchmark(path)


def test_no_file(tmp_path):
    with pytest.raises(KgraftError, match=r"--read=.*no\.json cannot be read: No such file"):
        read_benchmark(tmp_path / "no.json")
