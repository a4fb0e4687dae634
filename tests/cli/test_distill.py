import subprocess
import sys
import types

import pytest

from kgraft.cli import distill
from kgraft.config import RunConfig
from kgraft.errors import KgraftError

ALONE = """
import sys
from kgraft.cli import {command}
sys.argv = ["kgraft", *{arguments!r}]
try:
    {command}.main()
finally:
    heavy = {{"tensorflow", "keras", "tensorflow_datasets"}} & set(sys.modules)
    assert not heavy, heavy
"""


@pytest.fixture
def api(monkeypatch):
    """Stands in for the distillation itself, which loads TensorFlow."""
    module = types.ModuleType("kgraft.api")
    module.Unfinished = type(
        "Unfinished",
        (types.SimpleNamespace,),
        {"__init__": lambda self, phases: setattr(self, "phases", phases)},
    )
    monkeypatch.setitem(sys.modules, "kgraft.api", module)
    monkeypatch.setattr("kgraft.api", module, raising=False)
    return module


def alone(command, *arguments):
    return subprocess.run(
        [sys.executable, "-c", ALONE.format(command=command, arguments=arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["distill", "teach"])
def test_help_answers_without_tensorflow(command):
    result = alone(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: kgraft-{command}" in result.stdout


@pytest.mark.parametrize("command", ["distill", "teach"])
def test_a_wrong_flag_answers_without_tensorflow(command):
    result = alone(command, "--bogus")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"kgraft-{command}: error: Unknown command line flag 'bogus'")
    assert result.stderr.count("\n") == 1


FLAGS = ("--teacher=a.keras", "--teacher_cuts=a,b", "--dataset=folder:x")


def test_a_dry_run_lists_the_phases_without_tensorflow():
    result = alone("distill", *FLAGS, "--graft=0,2", "--dry_run")
    assert (result.returncode, result.stderr) == (0, "")
    *_, flag, title, first, second, third = result.stdout.splitlines()
    assert flag.startswith("--") and title == "# phases, for --phases:"
    assert (first, second, third) == ("#   0 one/block0", "#   1 one/block2", "#   2 two/blocks0-2")


def test_a_dry_run_of_a_number_of_blocks_says_that_there_may_be_fewer():
    lines = distill.outline(
        RunConfig.from_flags(teacher="a.keras", dataset="folder:x", teacher_cuts=2)
    ).splitlines()
    assert lines[-2:] == [
        "#   2 two/blocks0-1",
        "#   fewer where the teacher has fewer blocks with multiply-adds",
    ]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--phases=7", "--phases=7: there is no phase 7; there are 0 one/block0, 1 one/block1"),
        ("--phases=x", "--phases must be all, or phases by number or name separated by commas"),
        ("--graft=3", "--graft: expected 'all', or block numbers from 0 to 2 such as 2 or 1-2"),
        ("--side_by_side=0", "--side_by_side must be auto, off or a whole number above 0; got '0'"),
    ],
)
def test_wrong_blocks_and_phases_answer_without_tensorflow(argument, message):
    result = alone("distill", *FLAGS, argument)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"kgraft-distill: error: {message}")


def test_some_phases_end_with_the_command_that_goes_on(api, monkeypatch, capsys):
    phases = {"one/block0": True, "one/block1": False}
    api.run = lambda *_: api.Unfinished(phases)
    monkeypatch.setattr(
        distill.sys, "argv", ["x", "--workdir=my run", "--phases", "0", "--shots=2"]
    )
    distill.execute("the config")
    assert capsys.readouterr().out.splitlines() == [
        "  0 one/block0           finished",
        "  1 one/block1           left",
        "",
        "this trains what is left and writes the student and the report:",
        "  kgraft-distill '--workdir=my run' --shots=2 --resume",
    ]


def test_the_command_that_goes_on():
    last = distill.progress({"one/block0": True}, ["--flagfile=a", "--phases=0"]).splitlines()[-2:]
    assert last == [
        "this writes the student and the report:",
        "  kgraft-distill --flagfile=a --phases=all --resume",
    ]


def test_prints_the_table_and_what_was_written(api, tmp_path, capsys):
    (tmp_path / "report.md").write_text("x" * 1500)
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "weights").write_text("x" * 250_000)
    seen = []

    def run(config, watch):
        assert 0 < watch.seconds["start-up"] < watch.whole()["start-up"] + 1
        seen.append(config)
        return types.SimpleNamespace(table="the table", workdir=tmp_path)

    api.run = run
    distill.execute("the config")
    assert seen == ["the config"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["the table", "", f"written to {tmp_path}:"]
    assert lines[3].split() == ["1.5", "kB", f"{tmp_path}/report.md"]
    assert lines[4].split() == ["250.0", "kB", f"{tmp_path}/saved_model/"]


def test_errors_of_the_run_are_one_line(api, monkeypatch, capsys):
    def run(config, watch):
        raise KgraftError(f"no file {config.teacher.source}")

    api.run = run
    monkeypatch.setattr(sys, "argv", ["x", "--teacher=a.keras", "--dataset=embedded:fashion_mnist"])
    with pytest.raises(SystemExit) as stop:
        distill.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.endswith("kgraft-distill: error: no file a.keras\n")
