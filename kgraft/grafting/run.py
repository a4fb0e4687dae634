"""All phases of a graft schedule, one after another, each saved when it is done."""

import gc
from collections.abc import Sequence
from typing import Any

from kgraft.grafting.checkpoints import START, Checkpoints
from kgraft.grafting.schedule import Phase
from kgraft.grafting.span import Student
from kgraft.grafting.trainer import PhaseResult, train_phase


def run_schedule(
    phases: Sequence[Phase],
    *,
    student: Student,
    checkpoints: Checkpoints | None = None,
    **training: Any,
) -> tuple[PhaseResult, ...]:
    """Trains every phase, or takes it from the checkpoints where it is finished.

    Args:
        phases: the graft schedule.
        student: one block for each of the teacher's, changed in place.
        checkpoints: where finished phases are kept; None for nowhere.
        **training: the other arguments of `train_phase`.

    Returns:
        The results, in the order of the phases.

    Raises:
        KgraftError: see `train_phase` and `Checkpoints.restore`.
    """
    if checkpoints is not None:
        if checkpoints.has_start():
            checkpoints.restore(START, student)
        else:
            checkpoints.save_start(student)
    return tuple(_run_or_restore(phase, student, checkpoints, training) for phase in phases)


def _run_or_restore(
    phase: Phase, student: Student, checkpoints: Checkpoints | None, training: dict[str, Any]
) -> PhaseResult:
    finished = checkpoints.finished(phase.name) if checkpoints is not None else None
    if checkpoints is not None and finished is not None:
        checkpoints.restore(phase.name, student)
        return finished
    result = train_phase(phase, student=student, **training)
    # Compiled functions hold themselves and their data on the device until a collection.
    gc.collect()
    if checkpoints is not None:
        checkpoints.save(student, result)
    return result
