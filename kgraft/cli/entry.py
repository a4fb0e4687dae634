"""What every command shares: parse the flags, make the config, run it, say errors in one line.

Flags live in a `FlagValues` of their own, not in absl's global one, so that a library that defines
flags when it is imported can neither clash with a command's nor appear in its `--help`. TensorFlow
is loaded only when the flags are good: `--help` and a wrong flag are answered at once.
"""

import functools
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import flags

from kgraft.cli.load_tensorflow import load_tensorflow
from kgraft.errors import KgraftError

HELP_ARGUMENTS = ("--help", "-help", "-h", "-?", "--helpshort", "--helpfull")
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
RESUME_HINT = "the same command with --resume goes on from what was finished"


class UsageError(KgraftError):
    """A command line that cannot be read."""


def run(
    name: str,
    define_flags: Callable[[flags.FlagValues], None],
    build_config: Callable[..., Any],
    execute: Callable[[Any], None],
    *,
    about: str = "",
    arguments: str = "",
    load: Callable[[], None] = load_tensorflow,
    outline: Callable[[Any], str] | None = None,
    on_interrupt: str = RESUME_HINT,
) -> NoReturn:
    """Runs one command on `sys.argv` and exits.

    Args:
        name: name of the command, in front of every message.
        define_flags: adds the command's flags; their module names are the titles in `--help`.
        build_config: makes the config from the parsed flags, and from the list of the other
            arguments where the command takes some; a KgraftError in it is a usage error.
        execute: does the work and prints its results; imports what needs TensorFlow in its body.
        about: one paragraph for the top of `--help`.
        arguments: what the arguments are that are no flags, for `--help`; empty where none are
            taken.
        load: what is loaded before `execute`.
        outline: what `--dry_run` prints of the config beside the settings, as comment lines.
        on_interrupt: what to tell a user who presses Ctrl-C.

    Raises:
        SystemExit: always. Code 0 for success, 1 for an error of the run, 2 for a wrong command
            line, 130 for Ctrl-C.
    """
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    _define_shared_flags(flag_values)

    try:
        if any(argument in HELP_ARGUMENTS for argument in sys.argv[1:]):
            usage = f"{name} {arguments}".strip()
            work = functools.partial(print, help_text(usage, flag_values, about=about))
        else:
            rest = parse(flag_values, sys.argv[1:], others=bool(arguments))
            config = build_config(flag_values, *([rest] if arguments else []))
            work = functools.partial(_load_and_execute, load, execute, config)
            if flag_values["dry_run"].value:
                lines = [resolved_flags(flag_values)] + ([outline(config)] if outline else [])
                work = functools.partial(print, "\n".join(lines))
    except KgraftError as error:
        _fail(name, str(error), EXIT_USAGE)
    finish(name, work, on_interrupt)


def parse(
    flag_values: flags.FlagValues, arguments: Sequence[str], *, others: bool = False
) -> list[str]:
    """Parses arguments and the flagfiles they name into `flag_values`.

    Args:
        flag_values: the defined flags; their values are set.
        arguments: the command line without the program's name.
        others: whether there may be arguments that are no flags.

    Returns:
        The arguments that are no flags.

    Raises:
        UsageError: an unknown flag, a value of the wrong kind, a flagfile that cannot be read, or
            an argument that is no flag.
    """
    flag_values.set_gnu_getopt(True)
    try:
        rest = flag_values(["command", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UsageError(f"{error}; --help lists the flags") from error
    except (flags.CantOpenFlagFileError, UnicodeDecodeError) as error:
        raise UsageError(_flagfile_message(error)) from error
    except flags.Error as error:
        raise UsageError(str(error).removeprefix("flag ")) from error
    if rest and not others:
        raise UsageError(f"unexpected argument {rest[0]!r}: settings are given as --name=value")
    return rest


def help_text(name: str, flag_values: flags.FlagValues, *, about: str = "") -> str:
    """Returns the text of `--help`: usage, then the flags under their titles, as defined.

    Args:
        name: name of the command.
        flag_values: the defined flags.
        about: one paragraph about the command.
    """
    lines = [f"usage: {name} [--flagfile=FILE] [--name=value ...]"]
    if about:
        lines += ["", *textwrap.wrap(about, 98)]
    for title, group in flag_values.flags_by_module_dict().items():
        lines += ["", f"{title}:"]
        for flag in group:
            lines += _flag_help(flag)
    return "\n".join(lines)


def resolved_flags(flag_values: flags.FlagValues) -> str:
    """Returns every setting as a flagfile would give it, one a line, under the titles of `--help`.

    Args:
        flag_values: the parsed flags.
    """
    lines = []
    for title, group in flag_values.flags_by_module_dict().items():
        settings = [flag for flag in group if flag.name not in ("dry_run", "flagfile")]
        if settings:
            lines += [f"# {title}", *(_assignment(flag) for flag in settings)]
    return "\n".join(lines)


def _define_shared_flags(flag_values: flags.FlagValues) -> None:
    title = "command line"
    flags.DEFINE_string(
        "flagfile",
        "",
        "file of flags, one --name=value a line; # starts a comment line; files may name further "
        "files; the last value of a flag wins",
        flag_values=flag_values,
        module_name=title,
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "check the flags, print the resolved settings and stop",
        flag_values=flag_values,
        module_name=title,
    )


def _flag_help(flag: flags.Flag) -> list[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    default = (
        "" if flag.default in (None, "", ()) else f" (default: {_value_text(flag, flag.default)})"
    )
    return [
        f"  {name}",
        *textwrap.wrap(flag.help + default, 92, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _assignment(flag: flags.Flag) -> str:
    return f"--{flag.name}={_value_text(flag, flag.value)}"


def _value_text(flag: flags.Flag, value: Any) -> str:
    if value is None:
        return "none"
    if flag.boolean:
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value)
    return str(value)


def _flagfile_message(error: Exception) -> str:
    cause = error.__context__ if isinstance(error.__context__, OSError) else None
    if cause is not None:
        return f"cannot read --flagfile={cause.filename}: {cause.strerror}"
    return f"cannot read a --flagfile: expected a text file of flags; {error}"


def _load_and_execute(
    load: Callable[[], None], execute: Callable[[Any], None], config: Any
) -> None:
    load()
    execute(config)


def finish(name: str, work: Callable[[], Any], on_interrupt: str = RESUME_HINT) -> NoReturn:
    """Does the work of a command and exits; an error it foresees is one line on stderr.

    Args:
        name: name of the command, in front of every message.
        work: what is done.
        on_interrupt: what to tell a user who presses Ctrl-C.

    Raises:
        SystemExit: always, with the codes of `run`.
    """
    try:
        work()
        sys.stdout.flush()
    except KgraftError as error:
        _fail(name, str(error), EXIT_ERROR)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except OSError as error:
        _fail(name, str(error), EXIT_ERROR)
    except MemoryError as error:
        reason = f": {error}" if str(error) else ""
        _fail(name, f"there is too little memory for these settings{reason}", EXIT_ERROR)
    except Exception as error:
        # TensorFlow's, known by its name: not every command has loaded TensorFlow.
        if type(error).__name__ != "ResourceExhaustedError":
            raise
        _fail(name, _exhausted(str(error)), EXIT_ERROR)
    except KeyboardInterrupt:
        _fail(name, f"stopped by Ctrl-C; {on_interrupt}", EXIT_INTERRUPTED)
    sys.exit(0)


def _exhausted(text: str) -> str:
    # What TensorFlow's file writers run out of is the disk.
    full = re.search(r"(\S+); (No space left on device)", text)
    if full:
        return "cannot write {}: {}".format(*full.groups())
    return "the device has too little memory for these settings; where it trains, lower --batch"


def _fail(name: str, message: str, code: int) -> NoReturn:
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
