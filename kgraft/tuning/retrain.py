"""The best of a search made once more, as kgraft-distill makes them: exported, tested, reported."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras

from kgraft import api
from kgraft.comparison.quiet import QuietStopwatch
from kgraft.errors import KgraftError
from kgraft.tuning.analysis import ranked
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.config import TuneConfig
from kgraft.tuning.records import TrialRecord


@dataclasses.dataclass(frozen=True)
class Retrained:
    """One of the best, made again.

    Attributes:
        trial: its name in the search.
        table: the table of its report.
        workdir: the folder with student, files and report.
    """

    trial: str
    table: str
    workdir: pathlib.Path


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
        say: told one line before each.

    Raises:
        KgraftError: a run failed.
    """
    made = []
    for rank, record in enumerate(ranked(records, config)[: config.top], 1):
        folder = workdir / f"top{rank}"
        say(f"making trial {record.trial} once more in {folder}")
        run = dataclasses.replace(
            candidate_run(record.values, config.run),
            workdir=str(folder),
            resume=folder.exists(),
        )
        result = api.run(run, QuietStopwatch(), teacher_model)
        if not isinstance(result, api.Result):
            raise KgraftError(f"the run in {folder} did not come to its end")
        made.append(Retrained(record.trial, result.table, folder))
    return tuple(made)
