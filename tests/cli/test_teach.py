import pathlib
import subprocess
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


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "kgraft.cli.teach", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


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
def test_wrong_command_line_is_one_line(arguments, code, message):
    done = command(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith("kgraft-teach: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_trains_from_the_command_line(tmp_path):
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
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert "a.keras: " in done.stdout.splitlines()[-1]
    assert (tmp_path / "a.keras").exists()
    again = command(*arguments)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith("kgraft-teach: error: --workdir must be new")
