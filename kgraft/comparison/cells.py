"""One record for each cell of the table, on disk as soon as the cell is done."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kgraft.comparison.config import METHODS
from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError

SCHEMA = 1
SETTINGS_NAME = "settings.json"
_FOLDER = "cells"
_TEACHER = "teacher.json"


@dataclasses.dataclass(frozen=True, order=True)
class CellKey:
    """Which cell.

    Attributes:
        draw: number of the few-shot draw, from 0.
        shots: images per class.
        method: name of the method.
    """

    draw: int
    shots: int
    method: str

    @property
    def file(self) -> str:
        """Name of its record."""
        return f"{self.method}_{self.shots}shot_draw{self.draw}.json"


@dataclasses.dataclass(frozen=True)
class CellRecord:
    """What was measured in a cell; figures are None where the cell failed.

    Attributes:
        method, shots, draw: which cell.
        seed: of the draw, the views and the training.
        error: why the cell failed; None where it did not.
        accuracy: share of the test images classified rightly, 0..1.
        accuracy_among: the same when only the logits of the test set's classes count; None where
            these are all classes.
        agreement: share of test images with the teacher's class, 0..1.
        parameters: of the fused student, BatchNorm statistics not counted.
        macs: multiply-adds of the fused student for one image.
        seconds: time to make, train and fuse the student; the teacher's run over the views, which
            all methods share, and the test are not in it.
        updates: gradient updates.
        reads_labels: whether labels of the transfer images were learned from.
        selection: how the weights were chosen, in words.
        sample_sha256: hash of the list of transfer images.
        images, views: how many transfer images and training views there were.
        settings: what the method was run with.
        notes: what a reader should know.
    """

    method: str
    shots: int
    draw: int
    seed: int
    error: str | None = None
    accuracy: float | None = None
    accuracy_among: float | None = None
    agreement: float | None = None
    parameters: int | None = None
    macs: int | None = None
    seconds: float | None = None
    updates: int | None = None
    reads_labels: bool = False
    selection: str = ""
    sample_sha256: str = ""
    images: int | None = None
    views: int | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> CellKey:
        """Which cell it is of."""
        return CellKey(self.draw, self.shots, self.method)


class CellStore:
    """The records of one comparison in its work folder."""

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens a work folder and changes nothing.

        Args:
            workdir: need not exist yet.
        """
        self._workdir = workdir
        self._folder = workdir / _FOLDER

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Checks that the folder holds no comparison of other settings.

        Args:
            settings: what all cells have in common, plain values.

        Raises:
            KgraftError: it does; the settings that differ are named.
        """
        path = self._workdir / SETTINGS_NAME
        if not path.exists():
            return
        found = differences(_read(path), _plain(settings))
        if found:
            raise KgraftError(
                f"{self._workdir} belongs to a comparison of other settings: {', '.join(found)}"
            )

    def start(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder of the records and says whose it is.

        Args:
            settings: what all cells have in common, plain values.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._workdir / SETTINGS_NAME).exists():
            write_json(self._workdir / SETTINGS_NAME, settings)

    def done(self, key: CellKey) -> bool:
        """Returns whether a cell has a record without an error."""
        path = self._folder / key.file
        return path.exists() and self._record(path).error is None

    def save(self, record: CellRecord) -> None:
        """Writes the record of a cell, in place of an earlier one."""
        content = {"schema": SCHEMA, **dataclasses.asdict(record)}
        write_json(self._folder / record.key.file, content)

    def save_teacher(self, figures: Mapping[str, Any]) -> None:
        """Writes what was measured of the teacher."""
        write_json(self._workdir / _TEACHER, figures)

    def teacher(self) -> dict[str, Any] | None:
        """Returns what was measured of the teacher; None where nothing was yet."""
        path = self._workdir / _TEACHER
        return _read(path) if path.exists() else None

    def records(self) -> tuple[CellRecord, ...]:
        """Returns all records, by draw, shots and the order of the methods."""
        found = [self._record(path) for path in self._folder.glob("*.json")]
        return tuple(sorted(found, key=lambda r: (r.draw, r.shots, METHODS.index(r.method))))

    def _record(self, path: pathlib.Path) -> CellRecord:
        content = _read(path)
        names = {field.name for field in dataclasses.fields(CellRecord)}
        if content.get("schema") != SCHEMA or content.get("method") not in METHODS:
            raise KgraftError(
                f"{path} is no record of a cell: expected schema {SCHEMA} and a known method; "
                "move it away"
            )
        values = {name: value for name, value in content.items() if name in names}
        return CellRecord(**{**values, "notes": tuple(values.get("notes", ()))})


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes a JSON file that is whole or absent."""
    with writing_aside(path) as aside:
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
        aside.write_text(text + "\n", "utf-8")


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise KgraftError(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise KgraftError(f"cannot read {path}: expected a JSON object")
    return content


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they come back from JSON."""
    return json.loads(json.dumps(settings, default=str))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Says which settings are not the same, one `name was x, now y` each.

    Args:
        old: plain values, as JSON gives them.
        new: the same.
        path: dotted name of what is compared.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for key in sorted(old.keys() | new.keys())
            for text in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path} was {old!r}, now {new!r}"]
