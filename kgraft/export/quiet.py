"""Keeps the C++ chatter of converter and interpreter off the terminal."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Sends everything written to file descriptor 2 to a file that is thrown away.

    TensorFlow's converter and LiteRT report progress from C++ past Python's logging, so only the
    descriptor itself can be silenced. What goes wrong reaches the caller as an exception anyway.

    Yields:
        None; the descriptor is put back on leaving, also after an exception.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
