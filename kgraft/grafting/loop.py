"""The loop over one phase's compiled calls: how many steps at once, and when to measure."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from kgraft.errors import KgraftError
from kgraft.grafting.batches import Batches
from kgraft.grafting.progress import OnProgress, Progress
from kgraft.grafting.schedule import Phase

_MEASUREMENTS = 8
# Steps per compiled call are chosen for about this long, to keep the progress line alive.
_SECONDS_PER_CALL = 1.0


@dataclasses.dataclass(frozen=True)
class Measured:
    """Held-out figures at a step, and the weights they belong to.

    Attributes:
        step: updates done.
        loss: mean loss on the held-out views.
        agreement: how often the graft names the teacher's class there, 0..1.
        weights: values of the span's variables.
    """

    step: int
    loss: float
    agreement: float
    weights: list[np.ndarray]


class Updates(Protocol):
    """What trains."""

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""

    def __call__(self, batches: Batches) -> np.ndarray:
        """Does one update per row and returns their losses, `[steps]`."""


class Measures(Protocol):
    """What measures; `compile_seconds` is the time that tracing took."""

    compile_seconds: float

    def __call__(self) -> tuple[float, float]:
        """Returns held-out loss and agreement."""


@dataclasses.dataclass(frozen=True)
class PhaseLoop:
    """Trains a phase in a few calls of compiled steps.

    Attributes:
        phase: the phase.
        trainer: does one update per row of some batches and returns their losses.
        meter: returns held-out loss and agreement.
        variables: the span's, statistics included.
        pace: chooses how many steps a call does.
        on_progress: told about every call and every measurement.
    """

    phase: Phase
    trainer: Updates
    meter: Measures
    variables: list[Any]
    pace: "Pace"
    on_progress: OnProgress | None

    @property
    def compile_seconds(self) -> float:
        """Seconds of tracing and compiling so far."""
        return self.meter.compile_seconds + self.pace.compile_seconds

    def measurements(self, batches: Batches, losses: list[float]) -> Iterator[Measured]:
        """Trains, measuring at the start, at even distances and at the end.

        Args:
            batches: one row per step.
            losses: the loss of each step is appended here.

        Yields:
            The measurements in order.

        Raises:
            KgraftError: a loss is not finite; phase and step are named.
        """
        yield self._measure(0)
        for first, stop in _sections(len(batches)):
            step = first
            while step < stop:
                part = batches[step : min(stop, step + self.pace.steps)]
                found = self.pace.time(self.trainer, part)
                self._check_finite(found, step)
                losses.extend(float(value) for value in found)
                step += len(part)
                self._report(step, found)
            measured = self._measure(step)
            self._report(step, found[:0], measured)
            yield measured

    def _measure(self, step: int) -> Measured:
        loss, agreement = self.meter()
        if not math.isfinite(loss):
            raise self._not_finite("held-out loss", loss, step)
        return Measured(step, loss, agreement, [v.numpy() for v in self.variables])

    def _check_finite(self, losses: np.ndarray, first: int) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise self._not_finite("loss", losses[bad[0]], first + int(bad[0]) + 1)

    def _not_finite(self, what: str, value: float, step: int) -> KgraftError:
        phase, suffix = self.phase, "_two" if self.phase.stage == 2 else ""
        lower = (
            f"lower --block_rate{suffix} (now {phase.block_rate:g}) and "
            f"--adapter_rate{suffix} (now {phase.adapter_rate:g})"
        )
        if phase.stage == 3:
            lower = f"lower --compress_rate (now {phase.block_rate:g})"
        return KgraftError(
            f"phase {phase.name}: the {what} became {value} at step {step} of {phase.steps}; "
            f"{lower}"
        )

    def _report(self, step: int, losses: np.ndarray, measured: Measured | None = None) -> None:
        if self.on_progress is not None:
            self.on_progress(
                Progress(
                    phase=self.phase,
                    step=step,
                    losses=losses,
                    heldout_loss=measured.loss if measured else None,
                    heldout_agreement=measured.agreement if measured else None,
                    seconds_per_step=self.pace.seconds_per_step,
                )
            )


class Pace:
    """Chooses how many steps a compiled call does; the steps themselves do not depend on it.

    Attributes:
        steps: how many the next call should do.
        seconds_per_step: how long a step took in the last call; None until that is known.
    """

    def __init__(self, fixed: int | None = None) -> None:
        """Starts with one step, to know the time soon.

        Args:
            fixed: do this many always; None for calls of about a second.
        """
        self.steps = fixed or 1
        self._fixed = fixed
        self.seconds_per_step: float | None = None
        self._first: tuple[float, int] | None = None

    @property
    def compile_seconds(self) -> float:
        """How much longer the first call took than its steps take in later ones."""
        if self._first is None:
            return 0.0
        seconds, steps = self._first
        return max(0.0, seconds - steps * (self.seconds_per_step or 0.0))

    def time(self, trainer: Callable[[Batches], np.ndarray], part: Batches) -> np.ndarray:
        """Does the steps and takes their time.

        Args:
            trainer: does one update per row.
            part: the rows.

        Returns:
            The losses, `[steps]`.
        """
        began = time.monotonic()
        losses = trainer(part)
        seconds = time.monotonic() - began
        # The first call compiles and says nothing about the pace.
        if self._first is None:
            self._first = (seconds, len(part))
        else:
            self.seconds_per_step = seconds / len(part)
            wanted = _SECONDS_PER_CALL / max(self.seconds_per_step, 1e-4)
            self.steps = self._fixed or max(1, int(wanted))
        return losses


def _sections(steps: int) -> list[tuple[int, int]]:
    """Splits the steps at the measurements."""
    count = min(_MEASUREMENTS, steps)
    ends = [round(steps * i / count) for i in range(count + 1)] if count else []
    return list(itertools.pairwise(ends))
