"""Files that are either whole or not there."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator


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
