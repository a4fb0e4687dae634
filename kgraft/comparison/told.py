"""A line now and then from a training that takes long."""

import time
from collections.abc import Callable

from kgraft.grafting.progress import format_seconds
from kgraft.pipeline.stopwatch import tell

# Seconds between two lines: few enough for a log, often enough to see that something happens.
_EVERY = 60.0


class Told:
    """Tells about once a minute how far a training is, and nothing of a short one."""

    def __init__(
        self,
        name: str,
        updates: int,
        *,
        every: float = _EVERY,
        say: Callable[[str], None] = tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
            name: what is trained.
            updates: how many there will be.
            every: seconds between two lines.
            say: told each line.
            clock: tells seconds.
        """
        self._name, self._updates, self._every = name, updates, every
        self._say, self._clock = say, clock
        self._began = self._last = clock()

    def __call__(self, done: int, loss: float) -> None:
        """Tells a line where it is time for one and something is left to do.

        Args:
            done: updates done so far, above 0.
            loss: mean loss of the last of them.
        """
        now = self._clock()
        if now - self._last < self._every or done >= self._updates:
            return
        self._last = now
        left = (now - self._began) / done * (self._updates - done)
        self._say(
            f"{self._name}  update {done}/{self._updates}  loss {loss:.4g}  "
            f"{format_seconds(left)} left"
        )
