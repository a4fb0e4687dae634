import pathlib
import sys

import numpy as np
import pytest
from absl import flags

from kgraft.cli import entry, teach
from kgraft.errors import KgraftError
from kgraft.teach.config import TeachConfig

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
NEEDED = ["--model=zoo:fashion_vgg", "--dataset=npz:a.npz", "--output=a.keras"]


def config(*arguments):
    flag_values = flags.FlagValues()
    teach.define_flags(flag_values)
    flags.DEFINE_string("flagfile", "", "", flag_values=flag_values)
    entry.parse(flag_values, arguments)
    return teach.build_config(flag_values)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process; returns its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["x", *arguments])
        with pytest.raises(SystemExit) as stop:
            teach.main()
        return stop.value.code, capsys.readouterr()

    return run


def test_every_setting_is_a_flag_and_the_defaults_are_the_dataclass_own():
    described = [name for section in teach.SECTIONS for name in section.helps]
    assert sorted(described) == sorted(TeachConfig.__dataclass_fields__)
    assert config(*NEEDED) == TeachConfig("zoo:fashion_vgg", "npz:a.npz", "a.keras")


def test_flags_reach_the_settings():
    found = config(*NEEDED, "--epochs=7", "--peak_rate=0.3", "--resume", "--eval_split=none")
    assert (found.epochs, found.peak_rate, found.resume, found.eval_split) == (7, 0.3, True, None)


def test_missing_flag():
    with pytest.raises(KgraftError, match="--output is missing"):
        config("--model=zoo:fashion_vgg")


def test_the_embedded_teacher_has_its_flagfile():
    found = config(f"--flagfile={CONFIGS / 'fashion_mnist_teacher.flags'}")
    assert (found.model, found.dataset) == ("zoo:fashion_vgg", "tfds:fashion_mnist")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epocs=3"], 2, "epocs"),
        ([*NEEDED, "--epochs=x"], 2, "epochs"),
        ([*NEEDED, "--augment=flip"], 2, "--augment must be one of none, crop_flip, imagenet"),
    ],
)
def test_wrong_command_line_is_one_line(command, arguments, code, message):
    found, told = command(*arguments)
    assert found == code
    assert told.err.startswith("kgraft-teach: error: ")
    assert message in told.err
    assert told.err.count("\n") == 1


def test_trains_from_the_command_line(command, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(40) % 2)
    arguments = [
        "--model=zoo:fashion_vgg",
        f"--dataset=npz:{tmp_path / 'a.npz'}",
        f"--output={tmp_path / 'a.keras'}",
        f"--workdir={tmp_path / 'work'}",
        "--epochs=1",
        "--batch=20",
    ]
    code, told = command(*arguments)
    assert code == 0, told.err
    assert "a.keras: " in told.out.splitlines()[-1]
    assert (tmp_path / "a.keras").exists()
    code, told = command(*arguments)
    assert code == 1
    assert told.err.splitlines()[-1].startswith("kgraft-teach: error: --workdir must be new")
