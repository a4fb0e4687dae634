"""The phases of a graft schedule, each saved when it is done and shared with other processes."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from kgraft.errors import KgraftError
from kgraft.grafting.checkpoints import START, Checkpoints
from kgraft.grafting.release import releasing_graphs
from kgraft.grafting.schedule import Phase, earlier_phases
from kgraft.grafting.span import Student
from kgraft.grafting.trainer import PhaseResult, train_phase


def settle_start(student: Student, checkpoints: Checkpoints) -> None:
    """Puts back the weights before the first phase, or saves them where there are none.

    Args:
        student: the student as it was made, changed in place.
        checkpoints: where they are kept.

    Raises:
        KgraftError: those kept are of another student.
    """
    if checkpoints.has_start():
        checkpoints.restore(START, student)
    else:
        checkpoints.save_start(student)


def check_ready(
    phases: Sequence[Phase], only: Collection[str] | None, checkpoints: Checkpoints
) -> None:
    """Checks that the phases asked for can be trained.

    Args:
        phases: the graft schedule.
        only: names of the phases asked for; None for all.
        checkpoints: where finished phases are kept.

    Raises:
        KgraftError: a phase goes on from one that is neither finished nor asked for.
    """
    if only is None:
        return
    numbers = {phase.name: number for number, phase in enumerate(phases)}
    for phase in phases:
        if phase.name not in only or checkpoints.finished(phase.name):
            continue
        needs = [p.name for p in earlier_phases(phase, phases)]
        missing = [n for n in needs if n not in only and not checkpoints.finished(n)]
        if missing:
            listed = ", ".join(f"{numbers[name]} {name}" for name in missing)
            raise KgraftError(
                f"--phases: {numbers[phase.name]} {phase.name} goes on from phases that are not "
                f"finished: {listed}; do these first, or ask for them too"
            )


def run_schedule(
    phases: Sequence[Phase],
    *,
    student: Student,
    checkpoints: Checkpoints | None = None,
    only: Collection[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    on_trained: Callable[[PhaseResult], None] = lambda _: None,
    **training: Any,
) -> tuple[PhaseResult, ...]:
    """Trains every phase, or takes it from the checkpoints where it is finished.

    A phase that another process is training is left to it: others come first, then this process
    waits. With `only` it does not wait, and leaves what goes on from there as well.

    Args:
        phases: the graft schedule.
        student: one block for each of the teacher's with the weights before the first phase,
            changed in place.
        checkpoints: where finished phases are kept; None for nowhere.
        only: names of the phases to train; None for all.
        tell: told about phases that are left to others.
        on_trained: told the result of each phase that is trained here.
        **training: the other arguments of `train_phase`.

    Returns:
        The results in the order of the phases; with `only`, of those that are finished.

    Raises:
        KgraftError: see `train_phase` and `Checkpoints.restore`.
    """
    worker = _Worker(student, checkpoints, only, on_trained, training)
    left = list(phases)
    results: dict[str, PhaseResult] = {}
    while left:
        ready = [phase for phase in left if not earlier_phases(phase, left)]
        result = next(filter(None, map(worker.attempt, ready)), None)
        if result is None and only is not None:
            break
        if result is None:
            result = worker.attempt(ready[0], wait=functools.partial(tell, _waiting(ready[0])))
        assert result is not None  # whoever waited has the phase
        results[result.name] = result
        left = [phase for phase in left if phase.name != result.name]
    others = [phase.name for phase in left if only is None or phase.name in only]
    if others:
        names = ", ".join(others)
        tell(f"left to others: {names} (another run trains it, or what it goes on from)")
    return tuple(results[phase.name] for phase in phases if phase.name in results)


def _waiting(phase: Phase) -> str:
    return f"waiting for {phase.name}, which another run is training"


@dataclasses.dataclass(frozen=True)
class _Worker:
    """Does one phase at a time."""

    student: Student
    checkpoints: Checkpoints | None
    only: Collection[str] | None
    on_trained: Callable[[PhaseResult], None]
    training: dict[str, Any]

    def attempt(
        self, phase: Phase, *, wait: Callable[[], None] | None = None
    ) -> PhaseResult | None:
        """Returns the phase's result; None where it is another process's or not asked for."""
        if self.checkpoints is None:
            return self._train(phase)
        finished = self._restored(phase, self.checkpoints)
        if finished or (self.only is not None and phase.name not in self.only):
            return finished
        with self.checkpoints.lock(phase.name, wait=wait) as held:
            if not held:
                return None
            # Whoever had the lock before may have finished it.
            finished = self._restored(phase, self.checkpoints)
            if finished is None:
                finished = self._train(phase)
                self.checkpoints.save(self.student, finished)
            return finished

    def _restored(self, phase: Phase, checkpoints: Checkpoints) -> PhaseResult | None:
        finished = checkpoints.finished(phase.name)
        if finished is not None:
            checkpoints.restore(phase.name, self.student)
        return finished

    def _train(self, phase: Phase) -> PhaseResult:
        with releasing_graphs():
            result = train_phase(phase, student=self.student, **self.training)
        self.on_trained(result)
        return result
