"""A lock that processes, on several machines too, agree on by a file in a shared folder."""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def file_lock(path: Path, *, wait: Callable[[], None] | None) -> Iterator[bool]:
    """Holds a lock while the block runs; the kernel gives it back when the process dies.

    Where a file system knows no locks everyone gets it at once: work may then be done twice, and
    its files are written whole and equal all the same.

    Args:
        path: the lock's file, made where it is missing and left there, as removing it could take
            it from under another process.
        wait: called before this process waits for another one; None for not to wait.

    Yields:
        Whether this process has the lock; always True where it waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened to be written to: NFS gives an exclusive lock on no other file.
    with open(path, "ab") as file:
        held = _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not held and wait is not None:
            wait()
            held = _lock(file, fcntl.LOCK_EX)
        yield held


def _lock(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError:
        # ENOLCK and the like: a file system without locks.
        return True
    return True
