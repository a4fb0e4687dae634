import dataclasses
import os
import subprocess
import sys

import pytest
from absl import flags

from kgraft.cli import entry
from kgraft.errors import KgraftError


@dataclasses.dataclass(frozen=True)
class Settings:
    color: str
    size: int


def define(flag_values):
    flags.DEFINE_string("color", "red", "the colour", flag_values=flag_values, module_name="paint")
    flags.DEFINE_integer("size", 1, "the size", flag_values=flag_values, module_name="shape")


def build(flag_values):
    if flag_values["size"].value < 0:
        raise KgraftError("--size must be at least 0")
    return Settings(flag_values["color"].value, flag_values["size"].value)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a small command; returns its exit code, stdout, stderr and the settings it ran with."""

    def run(*arguments, execute=None, **options):
        ran = []
        monkeypatch.setattr(sys, "argv", ["paint", *arguments])
        with pytest.raises(SystemExit) as stop:
            entry.run("paint", define, build, execute or ran.append, load=lambda: None, **options)
        out, err = capsys.readouterr()
        return stop.value.code, out, err, ran

    return run


def raising(error):
    def execute(_settings):
        raise error

    return execute


def test_success(command):
    assert command("--color=blue", "--size", "3") == (0, "", "", [Settings("blue", 3)])


@pytest.mark.parametrize("flag", entry.HELP_ARGUMENTS)
def test_help_wins_over_a_wrong_flag(command, flag):
    code, out, err, ran = command("--bogus", flag, about="Paints things.")
    assert (code, err, ran) == (0, "", [])
    assert out.startswith("usage: paint ")
    assert "Paints things." in out
    assert out.index("\npaint:") < out.index("--color") < out.index("\nshape:")
    assert "the colour (default: red)" in out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--bogus=1", "Unknown command line flag 'bogus'; --help lists the flags"),
        ("--colr=blue", "Unknown command line flag 'colr'. Did you mean: color ?; --help"),
        ("--size=big", "--size=big: invalid literal"),
        ("--size=-1", "--size must be at least 0"),
        ("--size", "Missing value for flag --size"),
        ("blue", "unexpected argument 'blue': settings are given as --name=value"),
        ("--flagfile=missing.flags", "cannot read --flagfile=missing.flags: No such file"),
    ],
)
def test_wrong_command_line_is_one_line(command, argument, message):
    code, out, err, ran = command(argument)
    assert (code, out, ran) == (2, "", [])
    assert err.startswith(f"paint: error: {message}")
    assert err.count("\n") == 1


def test_flagfiles_nest_and_the_last_value_wins(command, tmp_path):
    inner = tmp_path / "inner.flags"
    inner.write_text("--color=blue\n--size=2\n")
    outer = tmp_path / "outer.flags"
    outer.write_text(f"# a comment\n\n--color=green\n--flagfile={inner}\n--size=3\n")
    assert command(f"--flagfile={outer}")[3] == [Settings("blue", 3)]
    assert command(f"--flagfile={outer}", "--size=4")[3] == [Settings("blue", 4)]
    assert command("--size=4", "--flagfile", str(outer))[3] == [Settings("blue", 3)]


def test_flagfile_that_is_no_text(command, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\xff\xfe\x00")
    code, _, err, _ = command(f"--flagfile={tmp_path / 'model.keras'}")
    assert code == 2
    assert "expected a text file of flags" in err
    assert command(f"--flagfile={tmp_path}")[0] == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KgraftError("expected a cat,\n  got a dog"), 1, "expected a cat, got a dog"),
        (
            PermissionError(13, "Permission denied", "/root/x"),
            1,
            "[Errno 13] Permission denied: '/root/x'",
        ),
        (MemoryError(), 1, "there is too little memory for these settings"),
        (
            MemoryError("Unable to allocate 1 PiB"),
            1,
            "there is too little memory for these settings: Unable to allocate 1 PiB",
        ),
        (
            type("ResourceExhaustedError", (Exception,), {})("OOM when allocating"),
            1,
            "the device has too little memory for these settings; where it trains, lower --batch",
        ),
        (
            type("ResourceExhaustedError", (Exception,), {})(
                "{{function_node WriteFile}} /run/a.pb; No space left on device [Op:WriteFile]"
            ),
            1,
            "cannot write /run/a.pb: No space left on device",
        ),
        (KeyboardInterrupt(), 130, f"stopped by Ctrl-C; {entry.RESUME_HINT}"),
    ],
)
def test_errors_of_the_run_are_one_line(command, error, code, message):
    assert command(execute=raising(error))[:3] == (code, "", f"paint: error: {message}\n")


def test_interrupt_hint_of_the_command(command):
    err = command(execute=raising(KeyboardInterrupt()), on_interrupt="try again")[2]
    assert err == "paint: error: stopped by Ctrl-C; try again\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["paint"])
    with pytest.raises(ZeroDivisionError):
        entry.run("paint", define, build, raising(ZeroDivisionError()), load=lambda: None)


def test_load_comes_before_the_work_and_after_the_checks(monkeypatch):
    order = []
    arguments = ["paint", "--size=-1"]
    monkeypatch.setattr(sys, "argv", arguments)
    for _ in range(2):
        with pytest.raises(SystemExit):
            entry.run(
                "paint",
                define,
                build,
                lambda _: order.append("work"),
                load=lambda: order.append("load"),
            )
        arguments.pop()
    assert order == ["load", "work"]


def test_dry_run_prints_a_flagfile_of_the_settings(command, tmp_path):
    code, out, _, ran = command("--color=blue", "--dry_run")
    assert (code, ran) == (0, [])
    assert out == "# paint\n--color=blue\n# shape\n--size=1\n"
    (tmp_path / "again.flags").write_text(out)
    assert command(f"--flagfile={tmp_path / 'again.flags'}")[3] == [Settings("blue", 1)]


def test_dry_run_prints_the_outline_and_finds_what_is_wrong_with_it(command):
    def outline(settings):
        if settings.size > 2:
            raise KgraftError("too big")
        return f"# {settings.size} pots"

    assert command("--dry_run", outline=outline)[1].endswith("--size=1\n# 1 pots\n")
    code, out, err, _ = command("--dry_run", "--size=3", outline=outline)
    assert (code, out, err) == (2, "", "paint: error: too big\n")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--dry_run"]])
def test_a_reader_that_went_away_is_no_traceback(arguments):
    program = (
        "import sys\n"
        "from kgraft.cli import entry\n"
        f"sys.argv = ['paint', *{arguments!r}]\n"
        "entry.run('paint', lambda f: None, lambda f: 0,\n"
        "    lambda c: print('x' * 10**6), load=lambda: None)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")
