import subprocess
import sys
import time
import types

import pytest

from kgraft.cli import distill
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
    monkeypatch.setitem(sys.modules, "kgraft.api", module)
    monkeypatch.setattr("kgraft.api", module, raising=False)
    return module


def alone(command, *arguments):
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", ALONE.format(command=command, arguments=arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return result, time.monotonic() - start


@pytest.mark.parametrize("command", ["distill", "teach"])
def test_help_answers_without_tensorflow(command):
    result, seconds = alone(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: kgraft-{command}" in result.stdout
    assert seconds < 5


@pytest.mark.parametrize("command", ["distill", "teach"])
def test_a_wrong_flag_answers_without_tensorflow(command):
    result, seconds = alone(command, "--bogus")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"kgraft-{command}: error: Unknown command line flag 'bogus'")
    assert result.stderr.count("\n") == 1
    assert seconds < 5


def test_prints_the_table_and_what_was_written(api, tmp_path, capsys):
    (tmp_path / "report.md").write_text("x" * 1500)
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "weights").write_text("x" * 250_000)
    seen = []

    def run(config):
        seen.append(config)
        return types.SimpleNamespace(table="the table", workdir=tmp_path)

    api.distill = run
    distill.execute("the config")
    assert seen == ["the config"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["the table", "", f"written to {tmp_path}:"]
    assert lines[3].split() == ["1.5", "kB", f"{tmp_path}/report.md"]
    assert lines[4].split() == ["250.0", "kB", f"{tmp_path}/saved_model/"]


def test_errors_of_the_run_are_one_line(api, monkeypatch, capsys):
    def run(config):
        raise KgraftError(f"no file {config.teacher.source}")

    api.distill = run
    monkeypatch.setattr(sys, "argv", ["x", "--teacher=a.keras", "--dataset=embedded:fashion_mnist"])
    with pytest.raises(SystemExit) as stop:
        distill.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.endswith("kgraft-distill: error: no file a.keras\n")
