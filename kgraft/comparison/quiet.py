"""A stopwatch that says nothing: a comparison has lines of its own."""

import contextlib
import time
from collections.abc import Iterator

from kgraft.pipeline.stopwatch import Stopwatch


class QuietStopwatch(Stopwatch):
    """Times the parts of a run without telling of them."""

    @contextlib.contextmanager
    def part(self, name: str, what: str) -> Iterator[None]:
        """Times what runs inside.

        Args:
            name: key in `seconds`.
            what: what it is; not told.
        """
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
