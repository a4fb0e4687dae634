"""One record for each trial, on disk as soon as the trial is done."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from kgraft.data.write import write_json
from kgraft.errors import KgraftError
from kgraft.pipeline.record_folder import SETTINGS_NAME, RecordFolder, read_json
from kgraft.pipeline.workdir import Kind

SCHEMA = 1
START = "start"
_ENDED = "ended.json"
_FOLDER = "trials"
KIND = Kind("kgraft-tune", (SETTINGS_NAME, _FOLDER))
TRAINED, PRUNED, REFUSED, FAILED = "trained", "pruned", "over budget", "failed"


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """What was found in a trial; figures are None where it did not come to them.

    Attributes:
        trial: its name; `start` for the settings that the search starts from.
        status: `trained`, `pruned` (not trained: its closed form was hopeless), `over budget` (not
            even solved) or `failed`.
        values: what the tuner chose.
        flags: the settings of the run it stands for, one flag each.
        score: what the tuner makes large.
        agreement, loss: on the judge's views.
        accuracy: on the validation set, where a labelled one is named.
        closed_agreement, closed_loss, closed_accuracy: before the first update.
        latency_ms, bytes, macs: of the student, for one image.
        shares: the same as shares of the teacher's.
        seconds: of the whole trial.
        phases: of each phase name, blocks, seconds, whether it was taken from the cache, the
            step whose weights were kept, and held-out agreement at its start and end.
        blocks: of each replaced block its number, recipe, and multiply-adds as a share of the
            teacher's block.
        part: share of the phases that were trained, or to be trained where the trial did not come
            to them; below 1 in early rounds of Hyperband.
        worker: which process did it.
        error: why it failed, or was not trained.
    """

    trial: str
    status: str
    values: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    score: float | None = None
    agreement: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    closed_agreement: float | None = None
    closed_loss: float | None = None
    closed_accuracy: float | None = None
    latency_ms: float | None = None
    bytes: int | None = None
    macs: int | None = None
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    phases: tuple[Mapping[str, Any], ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = ()
    part: float = 1.0
    worker: str = ""
    error: str | None = None

    @property
    def whole(self) -> bool:
        """Whether every phase was trained, so that the run it stands for ends as it did."""
        return self.status == TRAINED and self.part >= 1


class TrialStore(RecordFolder):
    """The records of one search in its work folder, which several processes may share."""

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens a work folder and changes nothing.

        Args:
            workdir: need not exist yet.
        """
        super().__init__(workdir, _FOLDER, owner="a search")

    def save(self, record: TrialRecord) -> None:
        """Writes the record of a trial, in place of an earlier one."""
        content = {"schema": SCHEMA, **dataclasses.asdict(record)}
        write_json(self.folder / f"{record.trial}.json", content)

    def find(self, trial: str) -> TrialRecord | None:
        """Returns the record of a trial; None where it is not done."""
        path = self.folder / f"{trial}.json"
        return _record(path) if path.exists() else None

    def records(self) -> tuple[TrialRecord, ...]:
        """Returns all records in the order of their names, the start first."""
        found = [_record(path) for path in self.paths()]
        return tuple(sorted(found, key=_order))

    @property
    def found(self) -> int:
        """How many trials have their records, the start not counted."""
        return sum(record.trial != START for record in self.records())

    def end(self, trials: int) -> None:
        """Notes that a search of so many trials has ended, with all of them done or none left."""
        write_json(self.workdir / _ENDED, {"trials": trials})

    def ended(self, trials: int) -> bool:
        """Returns whether a search of so many trials has ended: a space may have fewer points."""
        path = self.workdir / _ENDED
        noted = read_json(path).get("trials", 0) if path.exists() else 0
        return max(self.found, noted) >= trials


def _order(record: TrialRecord) -> tuple[bool, int, str]:
    # Keras Tuner pads names to the digits of --trials, which a resumed search may have more of.
    number = int(record.trial) if record.trial.isdecimal() else 0
    return (record.trial != START, number, record.trial)


def _record(path: pathlib.Path) -> TrialRecord:
    content = read_json(path)
    if content.pop("schema", None) != SCHEMA:
        raise KgraftError(f"{path} is no record of a trial: expected schema {SCHEMA}; move it away")
    for name in ("flags", "phases", "blocks"):
        content[name] = tuple(content[name])
    return TrialRecord(**content)
