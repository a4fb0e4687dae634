"""Runs with a third stage: what they write, resuming them, exporting them again."""

import json
import re
import shutil
import sys

import keras
import numpy as np
import pytest

from kgraft import api
from kgraft.compress import stage
from kgraft.config import ExportConfig
from kgraft.errors import KgraftError
from kgraft.export import TFLiteRunner
from kgraft.grafting import ViewBank
from kgraft.graph import trace_model
from kgraft.pipeline import compression, job
from kgraft.pipeline.reexport import export_again
from kgraft.pipeline.reexport_config import ReexportConfig
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.transfer import fresh_views

from .conftest import make_images

FORMATS = ("float32", "sparse", "int8_qat")
SETTINGS = {
    "compress": "prune+quantize",
    "formats": FORMATS,
    "compress_steps": 4,
    # Less than rounds a logit away from the student's, which has learnt next to nothing.
    "compress_rate": 1e-5,
    "compress_views": 5,
    "steps": (0, 0),
    "graft": "1",
    "preprocess": "none",
}


@pytest.fixture(scope="module")
def trained_on():
    """The views of each technique's training."""
    return []


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory, trained_on):
    train = stage.train_wrapped

    def seen(*args, bank, **settings):
        trained_on.append(bank.views)
        return train(*args, bank=bank, **settings)

    workdir = tmp_path_factory.mktemp("compressed") / "run"
    config = world.config(workdir=str(workdir), eval_dataset=world.npz, **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "train_wrapped", seen)
        return api.distill(config)


@pytest.fixture
def workdir(finished, tmp_path):
    shutil.copytree(finished.workdir, tmp_path / "run")
    return tmp_path / "run"


def test_what_a_compressed_run_leaves(finished):
    rows = {row.name: row for row in finished.report.models}
    files = [f"student_{name}.tflite" for name in FORMATS]
    assert list(rows) == ["teacher", "student", "fused", *files]
    assert all(rows[name].gzip_bytes < rows[name].bytes for name in files)
    assert all(check.ok for check in finished.report.verification)
    phases = [phase.name for phase in finished.report.phases]
    assert phases[-2:] == ["three/prune", "three/quantize"]
    zeros = [np.asarray(w) == 0 for w in finished.student.weights if w.shape[0:1] == (3,)]
    assert zeros and all(mask.any() for mask in zeros)
    saved = keras.saving.load_model(finished.workdir / "student.keras")
    for one, other in zip(saved.weights, finished.student.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    text = (finished.workdir / "report.md").read_text()
    assert re.search(r"## Compression\n\n.*\n.*\n\| prune \| 4 \| (49|50)\.\d+ \| - \|\n", text)
    told = json.loads((finished.workdir / "report.json").read_text())["compression"]
    assert [found["layers"] for found in told] == [4, 4]


def test_the_third_stage_learns_from_fresh_views(finished, world, trained_on):
    teacher = trace_model(keras.saving.load_model(world.teacher))
    wanted = fresh_views(world.config().data, teacher, SETTINGS["compress_views"])
    assert len(trained_on) == 2
    for views in trained_on:
        np.testing.assert_array_equal(views, wanted)
    told = finished.report.transfer["views of the third stage"]
    assert told == "5 fresh ones of each transfer image, mixed ones in proportion"


def logits(workdir):
    images = make_images(8, seed=5)[0].astype("float32")
    return TFLiteRunner(workdir / "export" / "student_int8_qat.tflite")(images)


def test_a_resumed_run_trains_nothing_and_writes_the_same(finished, world, workdir, monkeypatch):
    before = logits(workdir)
    shutil.rmtree(workdir / "export")
    monkeypatch.setattr(stage, "train_wrapped", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr(compression, "fresh_views", lambda *a, **k: pytest.fail("made views"))
    # Without the slowest parts, which no weight depends on.
    settings = {**SETTINGS, "formats": ("int8_qat",), "eval_dataset": None, "resume": True}
    again = api.distill(world.config(workdir=str(workdir), **settings))
    np.testing.assert_array_equal(logits(workdir), before)
    for one, other in zip(again.student.weights, finished.student.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_with_the_third_stage_left_runs_the_teacher_over_no_view_for_nothing(
    finished, world, workdir, monkeypatch
):
    for path in (workdir / "checkpoints").glob("three_*"):
        path.unlink()
    counts = []

    class Counted(ViewBank):
        def __init__(self, views, **settings):
            counts.append(len(views))
            super().__init__(views, **settings)

    monkeypatch.setattr(job, "ViewBank", Counted)
    settings = {**SETTINGS, "formats": ("int8_qat",), "eval_dataset": None, "resume": True}
    again = api.distill(world.config(workdir=str(workdir), **settings))
    assert counts == [int(finished.report.transfer["heldout"].partition(":")[0]), 16]
    for one, other in zip(again.student.weights, finished.student.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_exporting_again_finds_the_quantised_student(workdir):
    before = logits(workdir)
    export = ExportConfig(formats=("int8_qat", "sparse"))
    report, _ = export_again(ReexportConfig(str(workdir), export), Stopwatch())
    np.testing.assert_array_equal(logits(workdir), before)
    assert all(check.ok for check in report.verification)
    next((workdir / "checkpoints").glob("three_quantize*.npz")).unlink()
    with pytest.raises(KgraftError, match="cannot read the checkpoint"):
        export_again(ReexportConfig(str(workdir), export), Stopwatch())
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(KgraftError, match=r"--formats=int8_qat is made of .*: leave int8_qat out"):
        export_again(ReexportConfig(str(workdir), export), Stopwatch())


def test_the_teacher_compressed_without_grafting(world, tmp_path):
    settings = {**SETTINGS, "compress": "quantize", "formats": ("int8_qat",)}
    config = world.config(workdir=str(tmp_path / "run"), student="keep", **settings)
    made = api.distill(config)
    assert [phase.name for phase in made.report.phases] == ["three/quantize"]
    rows = {row.name: row for row in made.report.models}
    assert rows["student"].agreement == 1.0 and "fused" not in rows
    with pytest.raises(KgraftError, match="keeps every block, so there is nothing to graft"):
        api.distill(world.config(workdir=str(tmp_path / "other"), student="keep"))


def test_what_cannot_be_exported_is_said_before_training(world, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "train_student", lambda *a, **k: pytest.fail("trained"))
    settings = {**SETTINGS, "preprocess": "unit", "preprocess_inside": True}
    with pytest.raises(KgraftError, match=r"int8_qat takes .* preprocessed by unit: leave"):
        api.distill(world.config(workdir=str(tmp_path / "run"), **settings))
    settings = {**SETTINGS, "compress": "cluster", "formats": ("float32",), "clusters": 100_000}
    with pytest.raises(KgraftError, match="--clusters=100000 would leave every kernel"):
        api.distill(world.config(workdir=str(tmp_path / "run"), **settings))
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(KgraftError, match="--formats=aeq_int4 needs ai-edge-quantizer"):
        api.distill(world.config(workdir=str(tmp_path / "run"), formats=("aeq_int4",)))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(KgraftError, match="--formats=onnx needs tf2onnx, onnx and onnxruntime"):
        api.distill(world.config(workdir=str(tmp_path / "run"), formats=("onnx",)))
    assert not (tmp_path / "run").exists()


def test_banks_are_closed_whatever_happens(world, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(ViewBank, "close", lambda bank: closed.append(len(bank)))
    monkeypatch.setattr(api, "start_student", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        api.distill(world.config(workdir=str(tmp_path / "run")))
    assert len(closed) == 2
    monkeypatch.setattr(job, "choose_compute", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        api.distill(world.config(workdir=str(tmp_path / "other")))
    assert len(closed) == 3
