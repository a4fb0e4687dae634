"""Files that are either whole or not there."""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def writing_aside(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives a name to write to, and renames it to the real one when all went well.

    Args:
        path: the file wanted; its folder must exist.

    Yields:
        The path to write to, in the same folder. It is removed if the block raises.
    """
    path = pathlib.Path(path)
    # Processes on several machines may write to one shared folder.
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
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
