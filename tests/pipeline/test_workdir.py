import pathlib

import keras
import pytest

from kgraft.comparison.cells import KIND as COMPARISON
from kgraft.errors import KgraftError
from kgraft.pipeline.workdir import (
    check_workdir,
    save_model,
    start_workdir,
    tell_of_nothing_to_resume,
)
from kgraft.tuning.records import KIND as SEARCH


def test_checking_makes_nothing(tmp_path):
    path = tmp_path / "deep" / "run"
    check_workdir(path, resume=False)
    assert not list(tmp_path.iterdir())
    start_workdir(path)
    assert path.is_dir() and not list(path.iterdir())


def test_a_name_that_is_not_utf8(tmp_path):
    with pytest.raises(KgraftError, match=r"--workdir must be a name in UTF-8; got '.*\\udcff'"):
        check_workdir(tmp_path / "x\udcff", resume=False)


def test_an_empty_folder_may_be_used(tmp_path):
    check_workdir(tmp_path, resume=False)
    start_workdir(tmp_path)
    assert tmp_path.is_dir()


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_workdir(pathlib.Path("run"), resume=False)
    start_workdir(pathlib.Path("run"))
    assert (tmp_path / "run").is_dir()


def test_files_in_it_are_let_be_to_resume(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    check_workdir(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(KgraftError, match="if a run was stopped there, --resume to go on"):
        check_workdir(tmp_path, resume=False)


def test_a_finished_run_without_its_checkpoints_cannot_be_gone_on_with(tmp_path):
    (tmp_path / "student.keras").write_text("")
    with pytest.raises(KgraftError, match=r"has a finished run and no checkpoints/, .* another fo"):
        check_workdir(tmp_path, resume=True)
    (tmp_path / "checkpoints").mkdir()
    check_workdir(tmp_path, resume=True)


def test_a_folder_of_other_things_is_not_gone_on_with(tmp_path):
    for ours in ("transfer.json", "slurm-17.out", "run.log", "job.e12345", "log.txt", "lost+found"):
        (tmp_path / ours).write_text("{}")
    check_workdir(tmp_path, resume=True)
    (tmp_path / "thesis.tex").write_text("mine")
    message = r"of kgraft-distill that was stopped; .* has no checkpoints and holds 'thesis\.tex'"
    with pytest.raises(KgraftError, match=message):
        check_workdir(tmp_path, resume=True)
    (tmp_path / "checkpoints").mkdir()
    check_workdir(tmp_path, resume=True)


@pytest.mark.parametrize(("kind", "folder"), [(COMPARISON, "cells"), (SEARCH, "trials")])
def test_folders_of_records_are_known_by_their_settings(tmp_path, kind, folder):
    (tmp_path / ".DS_Store").write_text("")
    check_workdir(tmp_path, resume=True, kind=kind)
    (tmp_path / "report.json").write_text("mine")
    message = rf"of {kind.command} that was stopped; .* has no settings\.json and holds 'report\.j"
    with pytest.raises(KgraftError, match=message):
        check_workdir(tmp_path, resume=True, kind=kind)
    for name in ("settings.json", folder):
        (tmp_path / name).mkdir()
        check_workdir(tmp_path, resume=True, kind=kind)
        (tmp_path / name).rmdir()


def test_nothing_to_resume_is_told(tmp_path, capsys):
    tell_of_nothing_to_resume(tmp_path / "rnu")
    assert "rnu to go on with; starting from the beginning" in capsys.readouterr().err
    (tmp_path / "report.json").write_text("{}")
    tell_of_nothing_to_resume(tmp_path)
    assert capsys.readouterr().err == ""


def test_a_folder_that_other_runs_are_at_work_in(tmp_path):
    (tmp_path / "transfer.json").write_text("{}")
    with pytest.raises(KgraftError, match="must be new or empty"):
        check_workdir(tmp_path, resume=False, shared=True)
    (tmp_path / "checkpoints").mkdir()
    check_workdir(tmp_path, resume=False, shared=True)
    with pytest.raises(KgraftError, match="must be new or empty"):
        check_workdir(tmp_path, resume=False)


def test_an_export_folder_that_will_not_be_replaced_is_told_at_once(tmp_path):
    (tmp_path / "export").mkdir()
    check_workdir(tmp_path, resume=True)
    (tmp_path / "export" / "thesis.txt").write_text("mine")
    with pytest.raises(KgraftError, match=r"export holds 'thesis\.txt', which is not from an"):
        check_workdir(tmp_path, resume=True)


@pytest.mark.parametrize("path", ["/proc/kgraft", "/proc/kgraft/run"])
def test_a_folder_that_cannot_be_written_to(path):
    with pytest.raises(KgraftError, match="must be a folder that can be written to; /proc/kgraft"):
        check_workdir(pathlib.Path(path), resume=False)


def test_a_folder_that_turns_unwritable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KgraftError, match="cannot be made: Not a directory"):
        start_workdir(tmp_path / "file" / "run")


def test_a_model_is_written_whole(tmp_path):
    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Dense(1)(x))
    for _ in range(2):
        save_model(model, tmp_path / "student.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["student.keras"]
    assert keras.saving.load_model(tmp_path / "student.keras").count_params() == 3


def test_a_model_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    class Full:
        def save(self, path):
            path.write_text("half")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_model(Full(), tmp_path / "student.keras")
    assert not list(tmp_path.iterdir())
