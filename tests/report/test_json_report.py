import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from kgraft.report import ModelRow
from kgraft.report.json_report import plain, to_json


def test_the_schema_programs_rely_on(report):
    found = json.loads(to_json(report))
    assert found["schema"] == 1
    assert [row["name"] for row in found["models"]] == ["teacher", "student", "student_int8.tflite"]
    assert found["models"][0] == {
        "name": "teacher",
        "accuracy": 0.9283,
        "agreement": None,
        "parameters": 14_983_498,
        "macs": 313_500_000,
        "bytes": 59_939_000,
        "latency_ms": 8.282,
        "accuracy_among": None,
        "gzip_bytes": None,
    }
    assert found["phases"][0]["blocks"] == [3, 4]
    assert found["transfer"]["images"] == 100 and found["transfer"]["sha256"] == "ab12"
    assert found["seconds"] == {"train": 60.04, "export": 3.0}
    assert found["flags"]["data"] == {"shots": 10, "images": None}
    assert found["verification"][0]["ops"] == {"CONV_2D": 13, "MEAN": 1}
    assert found["adapters_left"][0]["name"] == "block3_exit"
    assert found["skipped"] == [{"what": "image 7.png", "why": "cannot be decoded"}]


def test_numbers_that_are_not_finite_become_null(report):
    broken = dataclasses.replace(report, models=(ModelRow("m", float("nan"), np.float32("inf")),))
    row = json.loads(to_json(broken))["models"][0]
    assert row["accuracy"] is None and row["agreement"] is None


def test_numpy_values_and_paths():
    value = {1: np.int64(3), "a": [np.float32(0.5), np.bool_(True)], "p": Path("x/y")}
    assert plain(value) == {"1": 3, "a": [0.5, True], "p": "x/y"}
    assert plain(np.arange(3)) == [0, 1, 2]


def test_what_the_report_cannot_hold():
    with pytest.raises(TypeError, match="cannot hold a set"):
        plain({"a": {1}})
