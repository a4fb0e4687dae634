"""One record for each trial, on disk as soon as the trial is done."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from kgraft.comparison.cells import differences, write_json
from kgraft.errors import KgraftError

SCHEMA = 1
START = "start"
SETTINGS_NAME = "settings.json"
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
        closed_agreement, closed_loss: before the first update.
        latency_ms, bytes, macs: of the student, for one image.
        shares: the same as shares of the teacher's.
        seconds: of the whole trial.
        phases: of each phase name, blocks, seconds, whether it was taken from the cache, and
            held-out agreement at its start and end.
        blocks: of each replaced block its number, recipe, and multiply-adds as a share of the
            teacher's block.
        part: share of the phases that were trained, below 1 in early rounds of Hyperband.
        worker: which process did it.
        error: why it failed.
    """

    trial: str
    status: str
    values: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    score: float | None = None
    agreement: float | None = None
    loss: float | None = None
    closed_agreement: float | None = None
    closed_loss: float | None = None
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


class TrialStore:
    """The records of one search in its work folder, which several processes may share."""

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens a work folder and changes nothing.

        Args:
            workdir: need not exist yet.
        """
        self._workdir = workdir
        self._folder = workdir / "trials"

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Checks that the folder holds no search of other settings.

        Args:
            settings: what all trials have in common, plain values.

        Raises:
            KgraftError: it does; the settings that differ are named.
        """
        path = self._workdir / SETTINGS_NAME
        if path.exists():
            plain = json.loads(json.dumps(settings, default=str))
            found = differences(_read(path), plain)
            if found:
                raise KgraftError(
                    f"{self._workdir} belongs to a search of other settings: {', '.join(found)}"
                )

    def start(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder of the records and says whose it is.

        Args:
            settings: what all trials have in common, plain values.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._workdir / SETTINGS_NAME).exists():
            write_json(self._workdir / SETTINGS_NAME, settings)

    def save(self, record: TrialRecord) -> None:
        """Writes the record of a trial, in place of an earlier one."""
        content = {"schema": SCHEMA, **dataclasses.asdict(record)}
        write_json(self._folder / f"{record.trial}.json", content)

    def find(self, trial: str) -> TrialRecord | None:
        """Returns the record of a trial; None where it is not done."""
        path = self._folder / f"{trial}.json"
        return _record(path) if path.exists() else None

    def records(self) -> tuple[TrialRecord, ...]:
        """Returns all records in the order of their names, the start first."""
        found = [_record(path) for path in self._folder.glob("*.json")]
        return tuple(sorted(found, key=_order))


def _order(record: TrialRecord) -> tuple[bool, int, str]:
    # Keras Tuner pads names to the digits of --trials, which a resumed search may have more of.
    number = int(record.trial) if record.trial.isdecimal() else 0
    return (record.trial != START, number, record.trial)


def _record(path: pathlib.Path) -> TrialRecord:
    content = _read(path)
    if content.pop("schema", None) != SCHEMA:
        raise KgraftError(f"{path} is no record of a trial: expected schema {SCHEMA}; move it away")
    for name in ("flags", "phases", "blocks"):
        content[name] = tuple(content[name])
    return TrialRecord(**content)


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise KgraftError(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise KgraftError(f"cannot read {path}: expected a JSON object")
    return content
