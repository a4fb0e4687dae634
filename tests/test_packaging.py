"""setup.py, constraints.txt and the scripts in bin/, which a new user meets first."""

import ast
import os
import pathlib
import shutil
import subprocess

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]

PIP = "pip PYTHONPATH=unset"
FRESH = ["venv", PIP, PIP]

FAKE_PYTHON = """#!/usr/bin/env bash
# Stands in for python: says its version fits, "makes" a virtual environment, "installs" into it.
case "$1 ${2-}" in
  "-c "*) exit 0 ;;
  "-m venv") mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo venv >> "$LOG" ;;
  "-m pip") echo "pip PYTHONPATH=${PYTHONPATH-unset}" >> "$LOG"; exit "${PIP_EXIT:-0}" ;;
esac
"""


def setup_argument(name):
    call = next(
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setuptools.setup"
    )
    return next(ast.literal_eval(kw.value) for kw in call.keywords if kw.arg == name)


def constraints():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_known_versions_lie_in_the_declared_ranges():
    declared = setup_argument("install_requires") + setup_argument("extras_require")["test"]
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        pins = [pin.specifier for pin in constraints() if canonicalize_name(pin.name) == name]
        assert pins, f"no known version of {name}"
        for (pin,) in pins:
            assert pin.operator == "=="
            assert requirement.specifier.contains(pin.version), name


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_one_known_version_for_each_python(version):
    fitting = [
        canonicalize_name(pin.name)
        for pin in constraints()
        if pin.marker is None or pin.marker.evaluate({"python_version": version})
    ]
    assert sorted(fitting) == sorted({canonicalize_name(pin.name) for pin in constraints()})


def test_embedded_files_are_packaged():
    patterns = setup_argument("package_data")["kgraft"]
    packaged = {path for pattern in patterns for path in (ROOT / "kgraft").glob(pattern)}
    assert ROOT / "kgraft/py.typed" in packaged
    assert ROOT / "kgraft/data/embedded/fashion_mnist.npz" in packaged
    assert ROOT / "kgraft/zoo/embedded/fashion_mnist.keras" in packaged


def test_embedded_files_are_small():
    folders = (ROOT / "kgraft/data/embedded", ROOT / "kgraft/zoo/embedded")
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < 12e6


COMMANDS = ("benchmark", "compare", "distill", "export", "teach", "tune")


def test_every_command_has_a_script_and_an_entry_point():
    scripts = setup_argument("entry_points")["console_scripts"]
    assert scripts == [f"kgraft-{name} = kgraft.cli.{name}:main" for name in COMMANDS]
    assert {path.name for path in (ROOT / "bin").glob("kgraft-*")} == {
        f"kgraft-{name}" for name in COMMANDS
    }


@pytest.mark.parametrize(
    "name", [*(f"bin/kgraft-{name}" for name in COMMANDS), "bin/test", ".ci/run"]
)
def test_scripts_can_be_run(name):
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / name], check=True)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with nothing but what bin/setup reads, and an interpreter that only pretends."""
    root = tmp_path / "a checkout"
    (root / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "setup", root / "bin" / "setup")
    for name in ("setup.py", "constraints.txt"):
        (root / name).write_text(name)
    fake = tmp_path / "fake-python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    return root


def set_up(root, **environment):
    log = root.parent / "log"
    log.write_text("")
    settings = os.environ | {"LOG": str(log), "PYTHON": str(root.parent / "fake-python")}
    result = subprocess.run(
        [root / "bin" / "setup"],
        env=settings | environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return result, log.read_text().splitlines()


def test_first_use_installs_and_the_second_does_nothing(checkout):
    result, log = set_up(checkout, PYTHONPATH="/elsewhere", VIRTUAL_ENV="/elsewhere")
    assert (result.returncode, result.stdout) == (0, "")
    assert log == FRESH
    result, log = set_up(checkout)
    assert (result.returncode, result.stdout, result.stderr, log) == (0, "", "", [])


def test_an_interrupted_installation_is_done_afresh(checkout):
    assert set_up(checkout, PIP_EXIT="1")[0].returncode == 1
    assert set_up(checkout)[1] == FRESH


def test_changed_requirements_are_installed_into_the_environment(checkout):
    set_up(checkout)
    (checkout / "constraints.txt").write_text("new")
    assert set_up(checkout, PIP_EXIT="1")[1] == [PIP]
    assert set_up(checkout)[1] == FRESH


def test_a_moved_checkout_is_set_up_again(checkout):
    set_up(checkout)
    moved = checkout.rename(checkout.parent / "elsewhere")
    assert set_up(moved)[1] == FRESH


def test_python_that_does_not_fit(checkout):
    old = checkout.parent / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    result, _ = set_up(checkout, PYTHON=str(old))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "expected Python 3.10 to 3.13" in result.stderr
    assert "found Python 3.8.1" in result.stderr
