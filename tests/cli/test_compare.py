import pathlib
import sys

import numpy as np
import pytest
from absl import flags
from small_models import CLASSES, SHAPE, small_model

from kgraft.cli import compare, entry
from kgraft.comparison import METHODS, CompareConfig
from kgraft.config import RunConfig
from kgraft.errors import KgraftError

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
NEEDED = ["--teacher=a.keras", "--dataset=npz:a.npz", "--eval_dataset=npz:b.npz"]


def config(*arguments):
    flag_values = flags.FlagValues()
    compare.define_flags(flag_values)
    flags.DEFINE_string("flagfile", "", "", flag_values=flag_values)
    entry.parse(flag_values, arguments)
    return compare.build_config(flag_values)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process; returns its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["x", *arguments])
        with pytest.raises(SystemExit) as stop:
            compare.main()
        return stop.value.code, capsys.readouterr()

    return run


def test_the_defaults_are_the_dataclass_own():
    run = RunConfig.from_flags(teacher="a.keras", dataset="npz:a.npz", eval_dataset="npz:b.npz")
    assert config(*NEEDED) == CompareConfig(run)
    described = set(compare.COMPARISON.helps) | {"run"}
    assert described == set(CompareConfig.__dataclass_fields__)


def test_flags_reach_the_settings():
    found = config(*NEEDED, "--methods=kd,kgraft", "--shots_list=1,10", "--draws=3", "--views=4")
    assert (found.methods, found.shots_list) == (("kd", "kgraft"), (1, 10))
    assert (found.draws, found.run.data.views) == (3, 4)


DISTILL = [path for path in sorted(CONFIGS.glob("*.flags")) if "_teacher" not in path.name]
COMPARE = sorted(CONFIGS.glob("compare/*.flags"))


@pytest.mark.parametrize("path", DISTILL, ids=lambda path: path.name)
def test_flagfiles_of_distill_work(path):
    assert config(f"--flagfile={path}", "--draws=2").methods == METHODS


@pytest.mark.parametrize("path", COMPARE, ids=lambda path: path.name)
def test_comparisons_have_flagfiles(path, monkeypatch):
    # They name a flagfile of kgraft-distill by its path from the checkout.
    monkeypatch.chdir(CONFIGS.parent)
    found = config(f"--flagfile={path}")
    assert (found.draws, found.run.workdir) == (5, f"runs/compare_{path.stem}")
    command = f"bin/kgraft-compare --flagfile=configs/compare/{path.name}"
    assert command in path.read_text("utf-8")


def test_the_comparisons_there_are():
    assert [path.stem for path in COMPARE] == [
        "cifar10_resnet56",
        "cifar10_vgg16",
        "fashion_mnist",
        "imagenet_mobilenet",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([*NEEDED, "--methods=kd,hint"], 2, "--methods must be some of"),
        ([*NEEDED, "--shots_list=1,x"], 2, "shots_list"),
        (NEEDED[:2], 2, "--eval_dataset is missing"),
        ([*NEEDED, "--shots=none", "--images=5"], 2, "--images=5 draws without"),
    ],
)
def test_wrong_command_line_is_one_line(command, arguments, code, message):
    found, told = command(*arguments)
    assert found == code
    assert told.err.startswith("kgraft-compare: error: ")
    assert message in told.err
    assert told.err.count("\n") == 1


def test_it_prints_the_table(monkeypatch, capsys):
    from kgraft.comparison import run
    from kgraft.comparison.cells import CellRecord

    failed = (CellRecord("kd", 1, 0, 0, error="it broke"),)
    results = [(), failed]

    def fake(_):
        return run.Comparison((), {}, "the table", results.pop(0), pathlib.Path("work"))

    monkeypatch.setattr(run, "compare", fake)
    compare.execute(config(*NEEDED))
    assert capsys.readouterr().out == (
        "the table\n\nwritten to work: compare.md, compare.json, compare.svg, compare.png, cells/\n"
    )
    with pytest.raises(KgraftError, match="1 cells failed, first kd, 1-shot, draw 0: it broke"):
        compare.execute(config(*NEEDED))


def test_compares_from_the_command_line(command, tmp_path):
    small_model("plain").save(tmp_path / "teacher.keras")
    for name in ("train", "test"):
        images = np.random.default_rng(0).integers(0, 256, [10, *SHAPE], np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(10) % CLASSES)
    (tmp_path / "given.flags").write_text(
        f"--teacher={tmp_path / 'teacher.keras'}\n--teacher_cuts=down,conv2\n--graft=1\n"
        f"--dataset=npz:{tmp_path / 'train.npz'}\n--eval_dataset=npz:{tmp_path / 'test.npz'}\n"
        "--views=2\n"
    )
    code, told = command(
        f"--flagfile={tmp_path / 'given.flags'}",
        "--methods=closed",
        "--shots_list=1",
        "--draws=1",
        f"--workdir={tmp_path / 'work'}",
    )
    assert code == 0, told.err
    assert "[1/1] closed, 1-shot, draw 0" in told.err
    assert (tmp_path / "work" / "compare.svg").exists()
    assert "closed" in told.out
