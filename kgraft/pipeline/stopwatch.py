"""Seconds by part of a run, told on the terminal as the parts begin."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


def tell(what: str) -> None:
    """Writes one line to stderr."""
    print(f"kgraft: {what}", file=sys.stderr, flush=True)


class Stopwatch:
    """Times the parts of a run.

    Attributes:
        seconds: wall time by part; a part that comes again adds up.
    """

    def __init__(
        self, began: float | None = None, *, say: Callable[[str], None] | None = tell
    ) -> None:
        """Starts the clock.

        Args:
            began: when the process began, by `time.monotonic`, for a run that is all it does: what
                has passed since is the part `start-up`. None where the run begins now.
            say: told what each part is; None for nothing, where a command has lines of its own.
        """
        self._say = say
        now = time.monotonic()
        self._began = now if began is None else began
        self.seconds: dict[str, float] = {} if began is None else {"start-up": now - began}

    def split_off(self, name: str, seconds: float, *, of: str) -> None:
        """Makes a part of its own of some seconds of another one, which may be running still.

        Args:
            name: key in `seconds`.
            seconds: how many.
            of: the part they were spent in.
        """
        for part, change in ((name, seconds), (of, -seconds)):
            self.seconds[part] = self.seconds.get(part, 0.0) + change

    def whole(self) -> dict[str, float]:
        """Returns the parts and the `rest`, which add up to the time since the beginning."""
        rest = time.monotonic() - self._began - sum(self.seconds.values())
        return {**self.seconds, "rest": rest}

    @contextlib.contextmanager
    def part(self, name: str, what: str) -> Iterator[None]:
        """Times what runs inside, after saying what it is.

        Args:
            name: key in `seconds`.
            what: what to tell the user.
        """
        if self._say is not None:
            self._say(what)
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
