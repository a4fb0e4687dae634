"""What training tells of itself, and the line on the terminal."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

import numpy as np

from kgraft.grafting.schedule import Phase


@dataclasses.dataclass(frozen=True)
class Progress:
    """A report from within a phase.

    Attributes:
        phase: the phase.
        step: updates done so far.
        losses: loss of each update since the last report, `[updates]`; may be empty.
        heldout_loss, heldout_agreement: on held-out views, where they were just measured.
        seconds_per_step: the pace; None until it is known.
    """

    phase: Phase
    step: int
    losses: np.ndarray
    heldout_loss: float | None = None
    heldout_agreement: float | None = None
    seconds_per_step: float | None = None


OnProgress = Callable[[Progress], None]


def tell_all(*listeners: OnProgress | None) -> OnProgress:
    """Makes one listener of several.

    Args:
        *listeners: called in order; None is left out.

    Returns:
        The listener.
    """

    def tell(progress: Progress) -> None:
        for listener in listeners:
            if listener is not None:
                listener(progress)

    return tell


def format_seconds(seconds: float) -> str:
    """Formats a time as `m:ss`, or `h:mm:ss` from one hour on.

    Args:
        seconds: a time, not negative.
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


class ProgressLine:
    """Writes one line that keeps changing on a terminal, one line per phase elsewhere."""

    def __init__(self, phases: Sequence[Phase], stream: TextIO | None = None) -> None:
        """Starts the clock.

        Args:
            phases: the graft schedule, for the count of phases.
            stream: where to write; None for stderr.
        """
        self._names = [phase.name for phase in phases]
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._loss: float | None = None
        self._heldout: float | None = None
        self._phase = ""
        self._began = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Writes what the report says.

        Args:
            progress: the report.
        """
        if progress.phase.name != self._phase:
            self._phase, self._loss, self._heldout = progress.phase.name, None, None
            self._began = time.monotonic()
        if len(progress.losses):
            self._loss = float(np.mean(progress.losses))
        if progress.heldout_loss is not None:
            self._heldout = progress.heldout_loss
        done = progress.step == progress.phase.steps and progress.heldout_loss is not None
        if self._live:
            # The escape clears what a longer line before has left.
            self._stream.write(f"\r{self._text(progress, done)}\x1b[K" + ("\n" if done else ""))
        elif done:
            self._stream.write(self._text(progress, done) + "\n")
        self._stream.flush()

    def _text(self, progress: Progress, done: bool) -> str:
        phase = progress.phase
        number = self._names.index(phase.name) + 1 if phase.name in self._names else 0
        parts = [
            f"[{number}/{len(self._names)}] {phase.name}",
            f"step {progress.step}/{phase.steps}",
        ]
        if self._loss is not None:
            parts.append(f"loss {self._loss:.4g}")
        if self._heldout is not None:
            parts.append(f"held-out {self._heldout:.4g}")
        if done:
            parts.append(f"took {format_seconds(time.monotonic() - self._began)}")
        elif progress.seconds_per_step is not None:
            left = (phase.steps - progress.step) * progress.seconds_per_step
            parts.append(f"{format_seconds(left)} left")
        return "  ".join(parts)
