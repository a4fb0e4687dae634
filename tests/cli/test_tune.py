import pathlib
import sys

import pytest
from absl import flags

from kgraft.cli import entry, tune
from kgraft.errors import KgraftError
from kgraft.tuning import TuneConfig

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
NEEDED = ["--teacher=a.keras", "--dataset=npz:a.npz", "--vary=block1_ratio=0.25..0.75:0.25"]


def config(*arguments):
    flag_values = flags.FlagValues()
    tune.define_flags(flag_values)
    flags.DEFINE_string("flagfile", "", "", flag_values=flag_values)
    entry.parse(flag_values, arguments)
    return tune.build_config(flag_values)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process; returns its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["x", *arguments])
        with pytest.raises(SystemExit) as stop:
            tune.main()
        return stop.value.code, capsys.readouterr()

    return run


def test_every_setting_is_a_flag():
    described = {name for section in tune.SECTIONS for name in section.helps} | {"run"}
    assert described == set(TuneConfig.__dataclass_fields__)


def test_flags_reach_the_settings():
    found = config(*NEEDED, "--tuner=hyperband", "--trials=13", "--max_latency=0.4", "--views=4")
    assert (found.tuner, found.trials, found.bounds) == ("hyperband", 13, {"latency": 0.4})
    assert (found.vary, found.run.data.views) == (("block1_ratio=0.25..0.75:0.25",), 4)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("tune/*.flags")), ids=lambda path: path.name)
def test_searches_have_flagfiles(path, monkeypatch):
    # They name a flagfile of kgraft-distill and a space by their paths from the checkout.
    monkeypatch.chdir(CONFIGS.parent)
    found = config(f"--flagfile={path}")
    assert found.run.workdir == f"runs/tune_{path.stem}"
    assert f"bin/kgraft-tune --flagfile=configs/tune/{path.name}" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (NEEDED[:2], "--space is missing"),
        ([*NEEDED[:2], "--vary=block9=keep|drop"], "--space: block9: the teacher is cut into 5"),
        ([*NEEDED, "--max_latency=0"], "--max_latency must be above 0"),
    ],
)
def test_wrong_command_line_is_one_line(command, arguments, message):
    code, told = command(*arguments)
    assert code == 2
    assert told.err.startswith(f"kgraft-tune: error: {message}")
    assert told.err.count("\n") == 1


def test_it_prints_the_table(monkeypatch, capsys):
    from kgraft.tuning import run

    results = [
        run.Search((), "the table", pathlib.Path("work")),
        run.Search((), "", pathlib.Path()),
    ]
    monkeypatch.setattr(run, "tune", lambda _: results.pop(0))
    tune.execute(config(*NEEDED))
    printed = capsys.readouterr().out
    assert printed.startswith("the table\n\nwritten to work: search.json, best.flags")
    tune.execute(config(*NEEDED))
    assert capsys.readouterr().out == "done; the chief writes the results\n"


def test_a_student_that_cannot_be_made_again_costs_neither_table_nor_the_others(
    monkeypatch, capsys
):
    from kgraft.tuning import retrain, run

    folder = pathlib.Path("work")
    made = (
        retrain.Retrained("3", "", folder, "it broke"),
        retrain.Retrained("4", "its report", folder),
    )
    monkeypatch.setattr(run, "tune", lambda _: run.Search((), "the table", folder, made))
    with pytest.raises(KgraftError, match="1 of the best could not be made again: trial 3: it bro"):
        tune.execute(config(*NEEDED))
    printed = capsys.readouterr().out
    assert printed.startswith("the table\n")
    assert "its report" in printed and "trial 3" not in printed
