"""Files that are either whole or not there."""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

# Marks what is being written, or was when a process was killed.
ASIDE = ".part"


@contextlib.contextmanager
def writing_aside(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives a name to write to, and renames it to the real one when all went well.

    Args:
        path: the file wanted; its folder must exist.

    Yields:
        The path to write to, in the same folder and with the same suffix, which Keras goes by. It
        is removed if the block raises.
    """
    path = pathlib.Path(path)
    # Processes on several machines may write to one shared folder.
    writer = f"{socket.gethostname()}.{os.getpid()}"
    aside = path.with_name(f".{path.stem}.{writer}{ASIDE}{path.suffix}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a JSON file that is whole or absent.

    Args:
        path: the file wanted; its folder must exist.
        content: plain values; what JSON does not know is written as text.
    """
    with writing_aside(path) as aside:
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
        aside.write_text(text + "\n", "utf-8")
