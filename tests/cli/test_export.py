import sys
import types

import pytest

from kgraft.cli import export
from kgraft.errors import KgraftError


def dry_run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["x", *arguments, "--dry_run"])
    with pytest.raises(SystemExit) as stop:
        export.main()
    return stop.value.code, capsys.readouterr()


def test_flags_and_their_defaults(monkeypatch, capsys):
    code, told = dry_run(monkeypatch, capsys, "--workdir=runs/x", "--formats=dynamic,int16x8")
    assert code == 0 and told.err == ""
    lines = told.out.splitlines()
    assert lines[:2] == ["# finished run", "--workdir=runs/x"]
    assert "--formats=dynamic,int16x8" in lines and "--preprocess_inside=false" in lines
    assert "--min_agreement=none" in lines and "--output=none" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--workdir is missing: work folder of a finished run of kgraft-distill"),
        (("--workdir=x", "--formats=int4"), "--formats must be one of saved_model, float32"),
        (("--workdir=x", "--formats="), "--formats is empty: name at least one format to export"),
        (("--workdir=x", "--min_agreement=97"), "--min_agreement must be a share of images"),
        (("--workdir=x", "--dataset=here"), "--dataset must be tfds:NAME, folder:PATH"),
    ],
)
def test_what_is_refused_and_why(monkeypatch, capsys, arguments, message):
    code, told = dry_run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert told.err.startswith(f"kgraft-export: error: {message}")


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """Stands in for the export itself; `why` is what is wrong with its one file."""

    def stand_in(why):
        (tmp_path / "student_int8.tflite").write_bytes(bytes(1500))
        check = types.SimpleNamespace(name="student_int8.tflite", ok=not why, why=why)
        report = types.SimpleNamespace(models=(), verification=(check,))
        module = types.ModuleType("kgraft.pipeline.reexport")
        module.export_again = lambda config, watch: (report, tmp_path)
        monkeypatch.setitem(sys.modules, "kgraft.pipeline.reexport", module)

    return stand_in


def test_prints_the_table_and_what_was_written(exported, tmp_path, capsys):
    exported(why="")
    export.execute("the config")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model") and f"written to {tmp_path}:" in lines
    assert lines[-1].split() == ["1.5", "kB", f"{tmp_path}/student_int8.tflite"]


def test_a_failed_file_ends_the_command_with_an_error(exported, capsys):
    exported(why="agrees with the student on 90.00 % of 24 held-out views, less than ...")
    with pytest.raises(KgraftError, match=r"verification: student_int8\.tflite: agrees with the"):
        export.execute("the config")
    assert "written to" in capsys.readouterr().out
