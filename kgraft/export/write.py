"""Puts exports on disk: a folder made aside gets its name when it is whole."""

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kgraft.errors import KgraftError

_ASIDE = ".partial"


@contextlib.contextmanager
def made_aside(path: Path) -> Iterator[Path]:
    """Gives a folder to write to, which gets its real name when all went well.

    Any number of processes may do so for one name: each has a folder of its own, and the last one
    to finish stays.

    Args:
        path: the folder wanted; the one above it must exist.

    Yields:
        An empty folder on the same disk. It is removed if the block raises, and then, as when the
        process dies, an older folder of the real name is still there or is put back by the next
        call.

    Raises:
        KgraftError: something cannot be written or renamed.
    """
    try:
        # A link keeps its place: what it leads to is replaced.
        path = path.resolve()
        with contextlib.ExitStack() as stack:
            with _locked(path.parent):
                _tidy(path)
                own = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_ASIDE, dir=path.parent)
                stack.callback(shutil.rmtree, own, ignore_errors=True)
                # Held until the end: it tells the others that this folder is in use.
                stack.enter_context(_locked(Path(own)))
            # One below, as the temporary folder itself is closed to other users.
            made = Path(own, path.name)
            made.mkdir()
            yield made
            with _locked(path.parent):
                _replace(made, path)
    except OSError as error:
        raise KgraftError(f"cannot write exports to {path}: {error}") from error


def size_on_disk(path: Path) -> int:
    """Adds up the bytes of a file, or of all files in a folder.

    Args:
        path: an existing file or folder.

    Returns:
        Bytes.
    """
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _tidy(path: Path) -> None:
    """Makes good what processes that were killed have left."""
    # Between two renames the older folder is the only whole one.
    if _old(path).is_dir() and not path.exists():
        os.replace(_old(path), path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_ASIDE}"):
        # Whoever is still at work in it has its lock.
        with contextlib.suppress(OSError), _locked(left, wait=False):
            shutil.rmtree(left, ignore_errors=True)


def _replace(made: Path, path: Path) -> None:
    old = _old(path)
    if not path.exists():
        os.replace(made, path)
        return
    # A folder that is not empty cannot be replaced, only moved out of the way.
    shutil.rmtree(old, ignore_errors=True)
    os.replace(path, old)
    try:
        os.replace(made, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a folder itself, so that no file of a lock is left beside an export.

    Args:
        folder: the folder.
        wait: whether to wait for another process, and to go on on a file system without locks,
            such as NFS, which locks nothing that is not open for writing.

    Raises:
        OSError: the lock is not to be had at once.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError) if wait else contextlib.nullcontext():
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
