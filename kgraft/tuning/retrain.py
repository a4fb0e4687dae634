"""The best of a search made once more, as kgraft-distill makes them: exported, tested, reported."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras

from kgraft import api
from kgraft.errors import KgraftError, reason_of
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.tuning.analysis import ranked
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.config import TuneConfig
from kgraft.tuning.records import TrialRecord


@dataclasses.dataclass(frozen=True)
class Retrained:
    """One of the best, made again.

    Attributes:
        trial: its name in the search.
        table: the table of its report; empty where the run failed.
        workdir: the folder with student, files and report.
        error: why the run failed; None where it did not.
    """

    trial: str
    table: str
    workdir: pathlib.Path
    error: str | None = None


def student_folder(workdir: pathlib.Path, trial: str) -> pathlib.Path:
    """Returns where a trial's student is made again; by its name, as ranks change with --resume.

    Args:
        workdir: the work folder of the search.
        trial: the trial's name.
    """
    return workdir / f"student_{trial}"


def retrain(
    records: Sequence[TrialRecord],
    config: TuneConfig,
    workdir: pathlib.Path,
    teacher_model: keras.Model | None,
    say: Callable[[str], None],
) -> tuple[Retrained, ...]:
    """Makes the best students as kgraft-distill would from their flagfiles.

    This is the first time that a test image is read, where there is a test set: the search is over.

    Args:
        records: of all trials.
        config: the settings of the search; `top` says how many.
        workdir: the work folder of the search.
        teacher_model: a loaded teacher, or None.
        say: told one line before each, and one where it failed.

    Returns:
        One for each; a run that failed has its error, and the others are made all the same.
    """
    made = []
    for record in ranked(records, config)[: config.top]:
        folder = student_folder(workdir, record.trial)
        say(f"making trial {record.trial} once more in {folder}")
        try:
            again = Retrained(record.trial, _make(record, config, folder, teacher_model), folder)
        except Exception as error:
            why = reason_of(error)
            again = Retrained(record.trial, "", folder, why)
            say(f"trial {record.trial} could not be made once more: {why}")
        made.append(again)
    return tuple(made)


def _make(
    record: TrialRecord, config: TuneConfig, folder: pathlib.Path, teacher_model: keras.Model | None
) -> str:
    # Not in processes side by side: the search has taken the GPUs that they would need.
    run = dataclasses.replace(
        candidate_run(record.values, config.run),
        workdir=str(folder),
        resume=folder.exists(),
        side_by_side="off",
    )
    result = api.run(run, Stopwatch(say=None), teacher_model)
    if not isinstance(result, api.Result):
        raise KgraftError(f"the run in {folder} did not come to its end")
    return result.table
