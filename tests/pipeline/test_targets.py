"""Targets told before training; the run itself is as without them."""

import numpy as np
import pytest
import tensorflow as tf

from kgraft import api
from kgraft.config import ExportConfig
from kgraft.pipeline import parallel, targets
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.targets import target_lines, warn_of_targets

FOUND = {"student_float32.tflite": (800_000, 0.25), "student_int8.tflite": (200_000, 0.06)}


def lines(**wanted):
    return target_lines(FOUND, ExportConfig(**wanted))


def test_a_file_that_meets_the_targets_is_named():
    first, *rest = lines(target_bytes=250_000)
    assert first.startswith("--target_bytes=250,000 will be met, as far as this machine")
    assert rest == ["student_int8.tflite: 200,000 bytes, 0.06 ms"]
    assert len(lines(target_bytes=900_000, target_latency_ms=0.25)) == 3


def test_one_file_must_meet_all_targets():
    first, *rest = lines(target_bytes=300_000, target_latency_ms=0.05)
    assert first.startswith(
        "warning: no file of this student will meet --target_bytes=300,000 and "
        "--target_latency_ms=0.05 on this machine at one thread; give a smaller --student"
    )
    assert rest == [
        "student_float32.tflite: 800,000 bytes, 0.25 ms",
        "student_int8.tflite: 200,000 bytes, 0.06 ms",
    ]


def test_large_figures_have_all_their_digits():
    assert lines(target_bytes=1_500_000)[0].startswith("--target_bytes=1,500,000 will be met")
    assert "--target_latency_ms=0.05 on" in lines(target_latency_ms=0.05)[0]


def test_what_is_said_of_no_file_is_not_said_of_sparse():
    first, *rest = lines(target_bytes=100, formats=("float32", "int8", "sparse"))
    assert first.startswith(
        "warning: no file of this student (sparse, whose zeros come with training, not counted) "
        "will meet --target_bytes=100 on this machine at one thread; give a smaller --student"
    )
    assert len(rest) == 2


@pytest.mark.parametrize(
    "asked", [{"formats": ("saved_model",)}, {"formats": ("sparse",), "compress": "prune"}]
)
def test_without_a_file_that_can_be_weighed_nothing_is_held_against_targets(world, capsys, asked):
    config = world.config(**asked, target_bytes=100)
    watch = Stopwatch()
    warn_of_targets(None, config, watch)
    told = capsys.readouterr().err
    assert (
        "warning: no file is held against --target_bytes and --target_latency_ms: a SavedModel, an "
        "ONNX file and sparse, whose zeros come with training, are not; add another format" in told
    )
    assert "student_float32" not in told and "targets" not in watch.whole()


@pytest.mark.parametrize("student", [pytest.param("width:0.5", marks=pytest.mark.slow), "own"])
def test_the_figures_are_those_of_the_student_to_come(world, tmp_path, capsys, student):
    settings = {"seed": 7, "steps": (2, 2)}
    if student == "own":
        settings |= {
            "student": str(world.folder / "own.keras"),
            "student_cuts": ("first", "second"),
            "graft": "1",
        }
    asked = {"formats": ("int8",), "target_bytes": 100}
    result = api.distill(world.config(**settings, **asked, workdir=str(tmp_path / "targets")))
    told = capsys.readouterr().err.splitlines()
    place = next(i for i, line in enumerate(told) if "warning: no file of this student" in line)
    assert "--target_bytes=100 on this machine" in told[place]
    assert not any("training " in line for line in told[:place])
    promised = int(told[place + 1].split(": ")[2].split(" bytes")[0].replace(",", ""))
    size = (tmp_path / "targets" / "export" / "student_int8.tflite").stat().st_size
    # Names and rounded biases take a few bytes more or less.
    assert promised == pytest.approx(size, rel=0.05)
    assert result.report.seconds["targets"] > 0
    if student == "own":
        plain = api.distill(world.config(**settings, workdir=str(tmp_path / "plain")))
        assert "target" not in capsys.readouterr().err
        for ours, theirs in zip(plain.student.weights, result.student.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_untrained_student_is_made_outside_the_strategys_scope(world, tmp_path, monkeypatch):
    in_scope = []
    monkeypatch.setattr(
        api, "warn_of_targets", lambda *_: in_scope.append(tf.distribute.has_strategy())
    )
    monkeypatch.setattr(api, "fill_banks", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        api.distill(world.config(workdir=str(tmp_path / "run"), strategy="mirrored"))
    assert in_scope == [False]


def test_processes_side_by_side_time_nothing(world, tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr(parallel, "_has_own_classes", lambda: False)
    monkeypatch.setattr(parallel, "_run_workers", lambda share, devices: shares.append(share))
    config = world.config(
        workdir=str(tmp_path / "run"), side_by_side=2, target_bytes=100, target_latency_ms=1.0
    )
    assert parallel.train_side_by_side(config, Stopwatch())
    export = shares[0].export
    assert (export.target_bytes, export.target_latency_ms) == (None, None)
    assert export.formats == config.export.formats


def test_what_only_a_trained_student_can_be_is_held_as_what_comes_closest():
    asked = ExportConfig(formats=("saved_model", "int8_qat", "sparse", "float32"))
    assert targets._formats(asked) == ["int8", "float32"]
