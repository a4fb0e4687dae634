"""The benchmarks as commands: what they print, write and say when something is missing."""

import importlib.util
import json
import sys

import pytest

from benchmarks import command
from kgraft.errors import KgraftError

RESULTS = {"benchmark": "step", "ratio": 2.5, "phases": [{"name": "one"}]}


def test_json_is_one_object(capsys):
    command.deliver(RESULTS, as_json=True, out=None)
    assert json.loads(capsys.readouterr().out) == RESULTS


def test_without_json_the_single_figures_are_printed(capsys):
    command.deliver(RESULTS, as_json=False, out=None)
    assert capsys.readouterr().out == "benchmark: step\nratio: 2.5\n"


def test_results_are_written(tmp_path):
    out = tmp_path / "new" / "step.json"
    command.deliver(RESULTS, as_json=False, out=out)
    assert json.loads(out.read_text()) == RESULTS
    assert list(out.parent.iterdir()) == [out]


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KgraftError, match=r"cannot write .*file/step.json: "):
        command.deliver(RESULTS, as_json=False, out=tmp_path / "file" / "step.json")


def test_without_torch_a_command_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    monkeypatch.setattr(sys, "argv", ["step", "--json"])
    with pytest.raises(SystemExit) as stopped:
        command.run("step", "about", lambda flags: RESULTS, torch=True)
    assert stopped.value.code == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "benchmarks.step: this benchmark measures against PyTorch, which is not installed; the "
        'extra brings it: pip install -e ".[benchmarks]" -c constraints.txt\n'
    )


def test_a_number_below_one_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step", "--threads=0"])
    with pytest.raises(SystemExit) as stopped:
        command.run("step", "about", lambda flags: RESULTS)
    assert stopped.value.code == 2
    assert "argument --threads: expected a number from 1; got 0" in capsys.readouterr().err
