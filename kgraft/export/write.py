"""Puts exports on disk: a folder made aside gets its name when it is whole."""

import os
import shutil
from pathlib import Path

from kgraft.errors import KgraftError


def move_folder(made: Path, path: Path) -> None:
    """Gives a finished folder its name.

    Args:
        made: the folder, on the same disk as `path`.
        path: its name from now on; an older folder of that name is removed.

    Raises:
        KgraftError: the folder cannot be renamed.
    """
    old = path.with_name(f".{path.name}.old")
    try:
        shutil.rmtree(old, ignore_errors=True)
        # A folder that is not empty cannot be replaced, only moved out of the way.
        if path.exists():
            os.replace(path, old)
        os.replace(made, path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise KgraftError(f"cannot write {path}: {error}") from error


def size_on_disk(path: Path) -> int:
    """Adds up the bytes of a file, or of all files in a folder.

    Args:
        path: an existing file or folder.

    Returns:
        Bytes.
    """
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
