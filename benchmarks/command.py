"""What every benchmark's command shares: flags, one-line errors, where the results go."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from kgraft.cli.load_tensorflow import load_tensorflow
from kgraft.errors import KgraftError

Results = dict[str, Any]


def run(
    name: str,
    about: str,
    measure: Callable[[argparse.Namespace], Results],
    *,
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    torch: bool = False,
) -> NoReturn:
    """Runs one benchmark on `sys.argv` and exits.

    Args:
        name: name of the module, in front of messages.
        about: one line for `--help`.
        measure: does it; imports what needs TensorFlow in its body.
        add_flags: adds the benchmark's own flags.
        torch: whether it compares with PyTorch.

    Raises:
        SystemExit: always; code 1 and one line on stderr for an error.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="write the JSON object to this file")
    parser.add_argument("--threads", type=positive, help="threads of every library; all cores")
    add_flags(parser)
    flags = parser.parse_args()
    try:
        if torch:
            require_torch()
        load_tensorflow()
        results = measure(flags)
        deliver(results, as_json=flags.json, out=flags.out)
    except KgraftError as error:
        print(f"benchmarks.{name}: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def require_torch() -> None:
    """Checks that PyTorch is there.

    Raises:
        KgraftError: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise KgraftError(
            "this benchmark measures against PyTorch, which is not installed; the extra "
            'brings it: pip install -e ".[benchmarks]" -c constraints.txt'
        )


def deliver(results: Results, *, as_json: bool, out: Path | None) -> None:
    """Prints the results, and writes them where that was asked for.

    Args:
        results: plain values.
        as_json: print all of them as JSON; else the single figures, one a line.
        out: file for the JSON; None for none.

    Raises:
        KgraftError: the file cannot be written.
    """
    text = json.dumps(results, indent=1)
    if out is not None:
        write_whole(out, text + "\n")
    if as_json:
        print(text)
        return
    for key, value in results.items():
        if isinstance(value, (int, float, str)):
            print(f"{key}: {value}")


def write_whole(path: Path, text: str) -> None:
    """Writes a file aside and renames it; its folder is made where it is missing.

    Raises:
        KgraftError: it cannot be written.
    """
    from kgraft.data.write import writing_aside

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing_aside(path) as aside:
            aside.write_text(text, "utf-8")
    except OSError as error:
        raise KgraftError(f"cannot write {path}: {error}") from error


def tell(what: str) -> None:
    """Writes one line of progress to stderr."""
    print(f"benchmarks: {what}", file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """Reads a number of threads, rounds or the like from the command line.

    Raises:
        ArgumentTypeError: it is below 1.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1; got {text}")
    return value
