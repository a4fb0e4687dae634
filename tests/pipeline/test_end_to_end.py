"""Whole runs on a small teacher: what they write, and the invariants that span the stages."""

import json
import pathlib
import shutil
import time

import keras
import numpy as np
import pytest

from kgraft import api
from kgraft.config import PLAIN_FORMATS
from kgraft.data import Source, sources
from kgraft.errors import KgraftError
from kgraft.graph import trace_model
from kgraft.pipeline import test_set
from kgraft.pipeline.transfer import open_transfer
from kgraft.pipeline.workdir import check_workdir

EXPORTS = ("saved_model", *(f"student_{kind}.tflite" for kind in PLAIN_FORMATS[1:]))
PHASES = ("one/block0", "one/block1", "one/block2", "two/blocks0-1", "two/blocks0-2")


class SpySource(Source):
    """A source that notes every read of its images and labels."""

    def __init__(self, source, split, diary):
        self._source, self._split, self._diary = source, split, diary
        self.name, self.class_names = source.name, source.class_names
        self.image_shape = source.image_shape

    def __len__(self):
        return len(self._source)

    @property
    def ids(self):
        return self._source.ids

    @property
    def labels(self):
        self._diary.append(f"{self._split} labels")
        return self._source.labels

    def attempts(self, positions=None):
        for attempt in self._source.attempts(positions):
            self._diary.append(f"{self._split} image")
            yield attempt


def spied(monkeypatch, diary):
    """Makes the pipeline write a diary of its reads and of the stages they happen in."""
    opened = sources.open_source

    def open_spied(spec, *, split, **options):
        return SpySource(opened(spec, split=split, **options), split, diary)

    def staged(name):
        stage = getattr(api, name)

        def run(*arguments, **options):
            diary.append(name)
            return stage(*arguments, **options)

        return run

    for module in (sources, test_set):
        monkeypatch.setattr(module, "open_source", open_spied)
    for name in ("open_job", "fill_banks", "train_student", "deliver", "make_report"):
        monkeypatch.setattr(api, name, staged(name))


class Finished:
    """A run that is over: what it gave back and what was seen of it."""

    def __init__(self, world, workdir, monkeypatch):
        self.teacher = keras.saving.load_model(world.teacher)
        self.before = self._teacher_state()
        self.diary = []
        spied(monkeypatch, self.diary)
        self.config = world.config(
            graft="all", eval_dataset=world.npz, formats=PLAIN_FORMATS, workdir=str(workdir), seed=7
        )
        began = time.monotonic()
        self.result = api.distill(self.config, teacher_model=self.teacher)
        self.wall = time.monotonic() - began
        self.workdir = workdir
        self.report = json.loads((workdir / "report.json").read_text())
        self.rows = {row["name"]: row for row in self.report["models"]}

    def _teacher_state(self):
        weights = [v.numpy().copy() for v in self.teacher.variables]
        return weights, [layer.trainable for layer in self.teacher.layers]

    @property
    def after(self):
        return self._teacher_state()


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return Finished(world, tmp_path_factory.mktemp("runs") / "full", patch)


def weights(model):
    return [np.asarray(v) for v in model.weights]


def assert_bit_equal(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype and mine.tobytes() == other.tobytes()


def test_every_file_is_there_and_nothing_half_written(run):
    names = {path.name for path in run.workdir.iterdir()}
    files = {"report.json", "report.md", "student.keras", "transfer.json"}
    assert names == {*files, "export", "checkpoints", "tensorboard"}
    export = run.workdir / "export"
    assert {path.name for path in export.iterdir()} == {
        *EXPORTS,
        "labels.txt",
        "preprocess.json",
        "SHA256SUMS",
    }
    assert not [p for p in run.workdir.rglob("*") if "part" in p.name]
    assert (export / "labels.txt").read_text().split() == ["red", "green", "blue", "yellow"]
    assert run.result.workdir == run.workdir


def test_the_report_has_every_model_in_the_units_agreed(run):
    assert tuple(run.rows) == ("teacher", "student", *EXPORTS)
    for name, row in run.rows.items():
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["agreement"] <= 1
        for count in ("parameters", "macs", "bytes"):
            assert isinstance(row[count], int) and row[count] > 0
        assert (row["latency_ms"] is None) == (name == "saved_model")
    assert run.rows["teacher"]["agreement"] == 1
    assert run.rows["teacher"]["accuracy"] == 1


def test_the_student_is_smaller_and_still_knows_its_classes(run, world):
    teacher, student = run.rows["teacher"], run.rows["student"]
    for figure in ("parameters", "macs", "bytes"):
        assert student[figure] < 0.6 * teacher[figure]
    assert student["agreement"] >= 0.9
    with np.load(world.folder / "images.npz") as arrays:
        logits = run.result.student.predict(arrays["test_images"].astype("float32"), verbose=0)
        right = np.mean(logits.argmax(axis=1) == arrays["test_labels"])
    assert student["accuracy"] == pytest.approx(right)


def test_the_written_student_is_the_one_given_back(run):
    loaded = keras.saving.load_model(run.workdir / "student.keras")
    assert_bit_equal(weights(loaded), weights(run.result.student))
    assert trace_model(loaded).parameters == run.rows["student"]["parameters"]


def test_exports_are_verified(run):
    checks = {check["name"]: check for check in run.report["verification"]}
    assert tuple(checks) == EXPORTS
    for check in checks.values():
        assert check["ok"] and check["builtin_only"] and check["static"]
        assert check["max_abs_difference"] <= check["tolerance"] * check["largest_logit"]
        on_test = check["test"]
        assert on_test["images"] == 40 and on_test["agreement"] >= 0.9
        assert on_test["accuracy"] == run.rows[check["name"]]["accuracy"]
    assert sum(checks["student_int8.tflite"]["ops"].values()) > 0
    noise = {name: [layer["snr_db"] for layer in check["layers"]] for name, check in checks.items()}
    assert noise["saved_model"] == noise["student_float32.tflite"] == []
    assert min(noise["student_int8.tflite"]) > 0 and len(noise["student_int8.tflite"]) > 3


def test_the_report_tells_phases_images_seconds_and_flags(run):
    report = run.report
    assert tuple(phase["name"] for phase in report["phases"]) == PHASES
    for phase in report["phases"]:
        assert phase["steps"] == 4 and 0 <= phase["kept_step"] <= 4
        assert phase["heldout_loss_end"] <= phase["heldout_loss_start"]
        assert 0 <= phase["heldout_agreement_end"] <= 1
    drawn = json.loads((run.workdir / "transfer.json").read_text())
    assert report["transfer"]["images"] == drawn["images"] == len(drawn["ids"]) == 12
    assert report["transfer"]["sha256"] == drawn["sha256"]
    parts = {"teacher", "data", "training", "export", "evaluation", "rest"}
    assert parts <= report["seconds"].keys()
    assert all(seconds >= 0 for seconds in report["seconds"].values())
    assert 0.5 * run.wall <= sum(report["seconds"].values()) <= run.wall
    flags = json.loads(json.dumps(run.config.to_dict()))
    # What `auto` came to is told; the rest is as given, also how images are fitted: a test set,
    # which may be another one when the student is exported again, is fitted by what it is itself.
    flags["teacher"]["preprocess"] = "none"
    assert report["flags"] == flags and report["transfer"]["resize"] == "none"
    (left,) = report["adapters_left"]
    assert left["name"] in {layer.name for layer in run.result.student.layers}
    assert "pool1 (MaxPooling2D) reads it" in left["why"]
    assert "test set" in report["evaluation"] and "no test image" in report["selection_rule"]


def test_the_terminal_table_has_a_line_for_each_model(run):
    lines = run.result.table.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["teacher", "student", *EXPORTS]


def test_the_teacher_is_bit_equal_afterwards(run):
    (before, trainable), (after, trainable_after) = run.before, run.after
    assert_bit_equal(before, after)
    assert trainable == trainable_after


def test_labels_end_with_the_draw_and_test_images_begin_with_the_report(run):
    diary = run.diary
    assert diary.index("open_job") < diary.index("train labels") < diary.index("fill_banks")
    after_draw = diary[diary.index("fill_banks") :]
    assert not [entry for entry in after_draw if entry.startswith("train ")]
    before_report = diary[: diary.index("make_report")]
    assert not [entry for entry in before_report if entry.startswith("test ")]
    assert diary[diary.index("make_report") :].count("test image") == 40


@pytest.fixture(scope="module")
def twin(run, world, tmp_path_factory):
    """The same settings again, but without a test set."""
    workdir = tmp_path_factory.mktemp("runs") / "twin"
    return api.distill(world.config(graft="all", seed=7, workdir=str(workdir)))


def test_the_same_seed_gives_the_same_images_and_bit_equal_weights(run, twin):
    assert twin.report.transfer["sha256"] == run.report["transfer"]["sha256"]
    ours, theirs = ((d / "transfer.json").read_text() for d in (run.workdir, twin.workdir))
    assert ours == theirs
    assert_bit_equal(weights(run.result.student), weights(twin.student))


def test_without_a_test_set_agreement_is_measured_on_heldout_views(twin):
    rows = {row.name: row for row in twin.report.models}
    assert set(rows) == {"teacher", "student"}
    assert rows["student"].accuracy is None and rows["teacher"].accuracy is None
    assert rows["student"].agreement >= 0.9
    assert "24 held-out views" in twin.report.evaluation
    assert twin.table.splitlines()[2].split()[1] == "-"


def test_a_stopped_run_goes_on_to_the_same_weights(run, world, tmp_path, capsys):
    workdir = tmp_path / "stopped"
    shutil.copytree(run.workdir / "checkpoints", workdir / "checkpoints")
    for phase in PHASES[3:]:
        (workdir / "checkpoints" / f"{phase.replace('/', '_')}.json").unlink()
    resumed = api.distill(world.config(graft="all", seed=7, workdir=str(workdir), resume=True))
    assert_bit_equal(weights(run.result.student), weights(resumed.student))
    told = capsys.readouterr().err
    assert PHASES[2] not in told and PHASES[3] in told and PHASES[4] in told
    assert tuple(phase.name for phase in resumed.report.phases) == PHASES


def test_another_seed_cannot_resume_it(run, world, tmp_path):
    workdir = tmp_path / "other"
    shutil.copytree(run.workdir / "checkpoints", workdir / "checkpoints")
    with pytest.raises(KgraftError, match=r"run of other settings: data\.seed was 7, now 8"):
        api.distill(world.config(graft="all", seed=8, workdir=str(workdir), resume=True))
    assert [path.name for path in workdir.iterdir()] == ["checkpoints"]


def test_views_depend_on_the_seed_alone(world):
    teacher = trace_model(keras.saving.load_model(world.teacher))
    one, same, other = (open_transfer(world.config(seed=s).data, teacher) for s in (3, 3, 4))
    assert one.images.ids == same.images.ids != other.images.ids
    assert np.array_equal(one.views, same.views) and np.array_equal(one.heldout, same.heldout)
    assert not np.array_equal(one.views, other.views)


def test_no_steps_no_augmentation_and_corrupt_images(world, folder, tmp_path):
    spoilt = sorted(folder.rglob("*"))[1::5]
    for image in spoilt:
        image.write_bytes(b"\x89PNG\r\n\x1a\n spoilt")
    source, apart = f"folder:{folder}", tmp_path / "apart"
    shutil.copytree(folder, apart)
    labels = tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\nyellow\n")
    result = api.distill(
        world.config(
            steps=(0, 0),
            augment="none",
            mixed_views="auto",
            dataset=source,
            eval_dataset=f"folder:{apart}",
            labels=str(labels),
            workdir=str(tmp_path / "run"),
        )
    )
    report = result.report
    assert (report.transfer["images"], report.transfer["views"]) == (12, 10)
    assert report.flags["data"]["mixed_views"] == 0 and "of them mixed" not in report.transfer
    assert "2 transfer images that training does not see" in report.transfer["heldout"]
    assert [(phase.steps, phase.loss_end) for phase in report.phases] == [(0, None)] * 3
    drawn = json.loads((tmp_path / "run" / "transfer.json").read_text())
    left_out = [entry for entry in report.skipped if entry.what == "transfer image"]
    assert len(left_out) == len(drawn["skipped"]) > 0
    assert all(entry.why.endswith("cannot be read") for entry in left_out)
    assert [entry.what for entry in report.skipped].count("test image") == len(spoilt) == 4
    rows = {row.name: row for row in report.models}
    # Sub-folders are in the order of their names, which is not that of the logits.
    assert rows["teacher"].accuracy == 1 and rows["student"].accuracy >= 0.75


def test_recipes_by_block_from_random_weights(world, tmp_path):
    result = api.distill(
        world.config(
            graft="0=width:0.25,1",
            start="random",
            select="last",
            loss="kl",
            feature_weight=0.0,
            views=130,
            mixed_views="auto",
            workdir=str(tmp_path / "run"),
        )
    )
    # Of 12 images there are 1,560 views.
    assert (result.report.transfer["views"], result.report.transfer["of them mixed"]) == (1600, 40)
    assert result.report.flags["data"]["mixed_views"] == 40
    names = [phase.name for phase in result.report.phases]
    assert names == ["one/block0", "one/block1", "two/blocks0-1"]
    assert all(phase.kept_step == 4 for phase in result.report.phases)
    widths = {v.path.split("/")[0]: v.shape[-1] for v in result.student.weights}
    teacher = keras.saving.load_model(world.teacher)
    kept = teacher.get_layer("logits").get_weights()
    assert_bit_equal(kept, result.student.get_layer("logits").get_weights())
    assert 2 in widths.values() and 4 in widths.values()
    rows = {row.name: row for row in result.report.models}
    assert rows["student"].parameters < rows["teacher"].parameters


def test_a_student_of_the_users_own(world, tmp_path):
    result = api.distill(
        world.config(
            student=str(world.folder / "own.keras"),
            student_cuts=("first", "second"),
            fake_quant="int8",
            graft="1-2",
            workdir=str(tmp_path / "run"),
        )
    )
    names = [phase.name for phase in result.report.phases]
    assert names == ["one/block1", "one/block2", "two/blocks1-2"]
    assert {phase.fake_quant for phase in result.report.phases} == {"int8"}
    assert all(phase.heldout_loss_end <= phase.heldout_loss_start for phase in result.report.phases)
    rows = {row.name: row for row in result.report.models}
    assert rows["student"].parameters < rows["teacher"].parameters
    left = {adapter.name for adapter in result.report.adapters_left}
    assert left <= {layer.name for layer in result.student.layers}


def test_a_finished_work_folder_is_not_written_over(run):
    with pytest.raises(KgraftError, match="must be new or empty"):
        check_workdir(pathlib.Path(run.workdir), resume=False)
    check_workdir(pathlib.Path(run.workdir), resume=True)
