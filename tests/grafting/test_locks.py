"""Locks that processes agree on by a file."""

import errno
import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kgraft.grafting.locks import file_lock

_HOLDER = """
import sys
from pathlib import Path
from kgraft.grafting.locks import file_lock
with file_lock(Path(sys.argv[1]), wait=None) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


def _hold(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    return holder


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "phase.lock"
    holder = _hold(path)
    with file_lock(path, wait=None) as held:
        assert not held
    holder.kill()
    holder.communicate()
    with file_lock(path, wait=None) as held:
        assert held


def test_waiting_is_told_and_ends_when_the_lock_is_free(tmp_path: Path) -> None:
    told = threading.Event()

    def wait_for_it() -> None:
        with file_lock(tmp_path / "lock", wait=told.set) as held:
            assert held

    with file_lock(tmp_path / "lock", wait=None):
        waiter = threading.Thread(target=wait_for_it)
        waiter.start()
        assert told.wait(60) and waiter.is_alive()
    waiter.join(60)
    assert not waiter.is_alive()


def test_an_error_in_the_block_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), file_lock(tmp_path / "lock", wait=None):
        raise ZeroDivisionError
    with file_lock(tmp_path / "lock", wait=None) as held:
        assert held


def test_without_locks_everyone_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "lock"
    with file_lock(path, wait=None) as held, file_lock(path, wait=None) as also:
        assert held and also
