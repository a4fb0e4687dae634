"""A finished run exported again: what is written, and what is no finished run."""

import contextlib
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from kgraft import api
from kgraft.config import ExportConfig
from kgraft.errors import KgraftError
from kgraft.export import TFLiteRunner, read_labels
from kgraft.pipeline import delivery, exporting
from kgraft.pipeline.finished import read_finished
from kgraft.pipeline.reexport import export_again
from kgraft.pipeline.reexport_config import ReexportConfig
from kgraft.pipeline.stopwatch import Stopwatch

from .conftest import make_images


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    config = world.config(
        workdir=str(workdir), eval_dataset=world.npz, formats=("int8",), steps=(0, 0), graft="1"
    )
    api.distill(config)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path):
    """A copy, to be changed."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def again(workdir, formats, **settings):
    names = ("output", "dataset", "data_dir", "eval_dataset", "eval_split")
    moved = {name: settings.pop(name) for name in names if name in settings}
    export = ExportConfig(formats=formats, **settings)
    return export_again(ReexportConfig(str(workdir), export, **moved), Stopwatch())


@contextlib.contextmanager
def edited(path):
    """The content of a JSON file, which gets what is made of it."""
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


def test_the_same_settings_give_the_same_file(workdir):
    path = workdir / "export" / "student_int8.tflite"
    before = path.read_bytes()
    report, folder = again(workdir, ("int8",))
    assert folder == workdir / "export" and path.read_bytes() == before
    # Calibration images, labels and figures are those of the run.
    old = json.loads((workdir / "report.json").read_text())
    row = next(row for row in old["models"] if row["name"] == "student_int8.tflite")
    assert report.models[1].accuracy == row["accuracy"]
    assert report.verification[0].max_abs_difference == pytest.approx(
        old["verification"][0]["max_abs_difference"], abs=1e-5
    )


def test_a_test_set_of_other_sizes_is_fitted_by_what_it_is(workdir, tmp_path):
    """The transfer images fit the teacher as they are; those of this folder are larger."""
    pixels, labels = make_images(8, seed=4, size=24)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = tmp_path / "larger" / ("red", "green", "blue", "yellow")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    report, _ = again(workdir, ("float32",), eval_dataset=f"folder:{tmp_path / 'larger'}")
    assert report.models[0].accuracy > 0.5


def test_a_test_set_that_holds_the_transfer_images_is_refused(world, workdir, tmp_path):
    with np.load(world.npz.removeprefix("npz:")) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
    one = f"npz:{tmp_path / 'one.npz'}"
    np.savez(tmp_path / "one.npz", images=images, labels=labels)
    before = (workdir / "export" / "SHA256SUMS").read_bytes()
    with pytest.raises(KgraftError, match="holds 12 of the 12 transfer images: give a test set"):
        again(workdir, ("float32",), dataset=one, eval_dataset=one)
    assert (workdir / "export" / "SHA256SUMS").read_bytes() == before


def test_a_test_set_that_holds_extra_images_is_refused(world, workdir, tmp_path):
    with np.load(world.npz.removeprefix("npz:")) as arrays:
        images, labels = arrays["test_images"], arrays["test_labels"]
    np.savez(tmp_path / "one.npz", images=images, labels=labels)
    one = f"npz:{tmp_path / 'one.npz'}"
    with edited(workdir / "report.json") as report:
        report["flags"]["data"] |= {"extra_dataset": one, "extra_images": 5}
    with pytest.raises(KgraftError, match="holds 5 of the 5 extra images: give a test set apart"):
        again(workdir, ("float32",), eval_dataset=one)
    again(workdir, ("float32",))


def test_the_report_of_another_student_does_not_stay(world, workdir, monkeypatch):
    """A run that is gone on with to other settings may be stopped when its student is there."""

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(delivery, "export_verified", stopped)
    settings = {"eval_dataset": world.npz, "steps": (0, 0), "graft": "1", "resume": True}
    settings["formats"] = ("int8",)
    with pytest.raises(KeyboardInterrupt):
        api.distill(world.config(workdir=str(workdir), **settings))
    # The same student still has its report.
    assert read_finished(workdir).compress.compress == "none"
    compressed = {"compress": "prune", "compress_steps": 2, "sparsity_schedule": "constant"}
    with pytest.raises(KeyboardInterrupt):
        api.distill(world.config(workdir=str(workdir), **settings, **compressed))
    with pytest.raises(KgraftError, match=r"has no report\.json: finish it by kgraft-distill with"):
        again(workdir, ("int8",))


def test_the_report_of_other_exports_does_not_stay(world, workdir, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(delivery, "make_report", stopped)
    monkeypatch.setattr(api, "make_report", stopped)
    settings = {"eval_dataset": world.npz, "steps": (0, 0), "graft": "1", "resume": True}
    # A path as Python has them is no setting that JSON knows.
    with pytest.raises(KeyboardInterrupt):
        config = world.config(formats=("int8",), **settings)
        api.distill(dataclasses.replace(config, workdir=workdir))
    assert (workdir / "report.md").exists()
    with pytest.raises(KeyboardInterrupt):
        api.distill(world.config(workdir=str(workdir), formats=("float32",), **settings))
    assert sorted(path.name for path in workdir.glob("report.*")) == []


def test_the_report_stays_with_its_exports_where_others_cannot_be_made(world, workdir, monkeypatch):
    settings = {"eval_dataset": world.npz, "steps": (0, 0), "graft": "1", "resume": True}
    config = world.config(workdir=str(workdir), formats=("float32",), **settings)

    def fails(*args, **kwargs):
        raise KgraftError("student has an op that no device knows")

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "export_student", fails)
        with pytest.raises(KgraftError, match="has an op that no device knows"):
            api.distill(config)
    assert sorted(path.name for path in workdir.glob("report.*")) == ["report.json", "report.md"]
    assert (workdir / "export" / "student_int8.tflite").exists()
    again(workdir, ("int8",))
    # Once the others are there it is not theirs.
    monkeypatch.setattr(exporting, "verify_exports", stopped)
    with pytest.raises(KeyboardInterrupt):
        api.distill(config)
    assert (workdir / "export" / "student_float32.tflite").exists()
    assert not list(workdir.glob("report.*"))


def test_other_formats_to_another_folder(workdir, tmp_path):
    formats = ("float32", "dynamic", "int16x8")
    report, folder = again(workdir, formats, output=str(tmp_path / "new" / "out"))
    written = [f"student_{name}.tflite" for name in formats]
    assert [row.name for row in report.models] == ["student", *written]
    assert all(check.ok and check.test.images == 40 for check in report.verification)
    names = {path.name for path in folder.iterdir()}
    beside = {"labels.txt", "preprocess.json", "SHA256SUMS", "report.json", "report.md"}
    assert names == {*written, *beside}
    assert json.loads((folder / "report.json").read_text())["verification"][0]["ok"]
    data = (folder / "student_dynamic.tflite").read_bytes()
    assert read_labels(data) == ("red", "green", "blue", "yellow")
    assert [p.name for p in (workdir / "export").glob("*.tflite")] == ["student_int8.tflite"]


def test_an_onnx_file_is_verified_and_tested_like_the_others(workdir, capsys):
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    report, folder = again(workdir, ("onnx",), min_agreement=0.99)
    student, file = report.models
    assert (file.name, file.agreement) == ("student.onnx", 1.0)
    assert 0 < file.latency_ms < 1000
    assert file.accuracy == student.accuracy
    assert file.bytes == (folder / "student.onnx").stat().st_size
    (check,) = report.verification
    assert check.ok and check.test.images == 40 and check.test.agreement == 1.0
    assert "| student.onnx | yes |" in (folder / "report.md").read_text()
    assert "tf2onnx" not in capsys.readouterr().err


def test_an_export_is_replaced_as_a_whole_and_can_be_made_again(workdir):
    again(workdir, ("float32",))
    again(workdir, ("float16",))
    found = [path.name for path in (workdir / "export").glob("*.tflite")]
    assert found == ["student_float16.tflite"]


def test_pixels_go_in_where_the_preprocessing_is_inside(world, tmp_path):
    config = world.config(
        workdir=str(tmp_path / "run"),
        preprocess="tf",
        steps=(0, 0),
        graft="1",
        formats=("float32",),
    )
    student = api.distill(config).student
    report, folder = again(tmp_path / "run", ("float32",), preprocess_inside=True)
    assert report.verification[0].ok and report.models[1].agreement == 1
    pixels = make_images(8, seed=9)[0].astype(np.float32)
    expected = student(pixels / 127.5 - 1).numpy()
    found = TFLiteRunner(folder / "student_float32.tflite")(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_too_little_agreement_is_in_the_report(workdir):
    student = keras.saving.load_model(workdir / "student.keras")
    # Logits that hardly differ: int8 cannot tell them apart.
    head = student.layers[-1]
    kernel, bias = head.get_weights()
    head.set_weights([1e-5 * kernel, 5 + 0 * bias])
    student.save(workdir / "student.keras")
    report, folder = again(workdir, ("int8",), min_agreement=0.999)
    (check,) = report.verification
    assert not check.ok and "less than --min_agreement=0.999" in check.why
    assert "test images" in check.why and "held-out views" in check.why
    assert (folder / "student_int8.tflite").exists()


@pytest.mark.parametrize("name", ["student.keras", "report.json", "transfer.json"])
def test_a_folder_that_is_not_a_finished_run(workdir, name):
    (workdir / name).unlink()
    message = rf"work folder of a finished run .* has no {name}: finish it by kgraft-distill with"
    with pytest.raises(KgraftError, match=message):
        again(workdir, ("int8",))
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(KgraftError, match=rf"has no {name}$"):
        again(workdir, ("int8",))


@pytest.mark.parametrize(("name", "done"), [("sparse", "pruned"), ("int8_qat", "trained in int8")])
def test_formats_of_a_compressed_student_need_such_a_run(workdir, name, done):
    message = rf"--formats={name} needs a student that was {done}; that of the run in .* was not"
    with pytest.raises(KgraftError, match=message):
        again(workdir, (name,))


def test_no_folder(tmp_path):
    with pytest.raises(
        KgraftError, match=r"finished run of kgraft-distill; .*nowhere is no folder"
    ):
        again(tmp_path / "nowhere", ("int8",))


def test_a_report_of_before_auto_was_resolved(workdir):
    with edited(workdir / "report.json") as report:
        report["flags"]["teacher"]["preprocess"] = "auto"
    with pytest.raises(KgraftError, match=r"report\.json is not of this version .*: 'auto'"):
        read_finished(workdir)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("report.json", "{", r"report\.json cannot be read: "),
        ("report.json", "[" * 100_000, r"report\.json cannot be read: "),
        ("student.keras", "nothing", r"student\.keras cannot be read as a Keras model: .*no zip a"),
        (
            "report.json",
            '{"flags": {"data": {"dataset": null}}}',
            r"report\.json is not of this version of kgraft: 'NoneType'",
        ),
        ("report.json", '{"flags": {}}', r"report\.json is not of this version of kgraft: 'data'"),
    ],
)
def test_files_that_are_spoilt(workdir, name, text, message):
    (workdir / name).write_text(text)
    with pytest.raises(KgraftError, match=message) as error:
        read_finished(workdir)
    assert "\n" not in str(error.value)


def test_other_images_than_the_runs(workdir, world, tmp_path):
    shorter = tmp_path / "shorter.npz"
    with np.load(world.folder / "images.npz") as arrays:
        kept = {k: v[:24] if k.startswith("train") else v for k, v in arrays.items()}
    np.savez(shorter, **kept)
    with pytest.raises(KgraftError, match=r"are not those of the run in .*: give the data set as"):
        again(workdir, ("int8",), dataset=f"npz:{shorter}")
    assert (workdir / "export" / "student_int8.tflite").exists()


def test_other_images_in_the_same_rows(workdir, world, tmp_path):
    other = tmp_path / "other.npz"
    with np.load(world.folder / "images.npz") as arrays:
        np.savez(other, **{k: 255 - v if k == "train_images" else v for k, v in arrays.items()})
    with pytest.raises(KgraftError, match=r"are not those of the run in .*: give the data set as"):
        again(workdir, ("int8",), dataset=f"npz:{other}")
    # A run of before the pixels were told of has its images by their names alone.
    with edited(workdir / "transfer.json") as drawn:
        assert len(drawn.pop("pixels_sha256")) == 64
    again(workdir, ("float32",), dataset=f"npz:{other}")


def test_a_run_whose_test_set_is_gone(workdir):
    with edited(workdir / "report.json") as report:
        report["flags"]["data"]["eval_dataset"] = "folder:gone"
    with pytest.raises(KgraftError, match=r"there is no folder .*gone"):
        again(workdir, ("float32",))
    found, _ = again(workdir, ("float32",), eval_dataset="off")
    assert found.models[0].accuracy is None
    assert "held-out views, without labels; agreement is with the student" in found.evaluation


def test_images_that_have_moved(workdir, world, tmp_path):
    moved = tmp_path / "moved.npz"
    shutil.copy(world.folder / "images.npz", moved)
    report, _ = again(workdir, ("float32",), dataset=f"npz:{moved}", eval_dataset=f"npz:{moved}")
    assert report.verification[0].test.images == 40


def test_a_folder_of_other_things_is_refused_before_any_work(workdir, tmp_path, capsys):
    output = tmp_path / "mine"
    output.mkdir()
    (output / "labels.txt").write_text("mine")
    with pytest.raises(KgraftError, match=r"holds 'labels\.txt' but no SHA256SUMS or preprocess"):
        again(workdir, ("float32",), output=str(output))
    assert capsys.readouterr().err == ""
    assert (output / "labels.txt").read_text() == "mine"


def test_settings_that_are_refused(tmp_path):
    with pytest.raises(KgraftError, match="--formats is empty: name at least one"):
        ReexportConfig(str(tmp_path), ExportConfig(formats=()))
    with pytest.raises(KgraftError, match="--eval_dataset must be tfds:NAME, folder:PATH"):
        ReexportConfig(str(tmp_path), ExportConfig(), eval_dataset="images")
