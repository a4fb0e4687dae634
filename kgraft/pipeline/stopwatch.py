"""Seconds by part of a run, told on the terminal as the parts begin."""

import contextlib
import sys
import time
from collections.abc import Iterator


def tell(what: str) -> None:
    """Writes one line to stderr."""
    print(f"kgraft: {what}", file=sys.stderr, flush=True)


class Stopwatch:
    """Times the parts of a run.

    Attributes:
        seconds: wall time by part; a part that comes again adds up.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str, what: str) -> Iterator[None]:
        """Times what runs inside, after saying what it is on stderr.

        Args:
            name: key in `seconds`.
            what: what to tell the user.
        """
        tell(what)
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
