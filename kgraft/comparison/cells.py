"""One record for each cell of the table, on disk as soon as the cell is done."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from kgraft.comparison.config import METHODS
from kgraft.data.write import write_json
from kgraft.errors import KgraftError
from kgraft.pipeline.record_folder import SETTINGS_NAME, RecordFolder, read_json
from kgraft.pipeline.workdir import Kind

SCHEMA = 1
_FOLDER = "cells"
# Settings that folders of older versions lack, which nothing can be held against.
_SINCE = ("transfer_sha256", "extra_sha256")
KIND = Kind("kgraft-compare", (SETTINGS_NAME, _FOLDER))
_TEACHER = "teacher.json"
_TEACHER_FIGURES = ("accuracy", "parameters", "macs", "test_images")
_NUMBERS = ("shots", "draw", "seed")
_FIGURES = ("accuracy", "agreement", "parameters", "macs", "seconds", "updates")


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
        pixels_sha256: hash of the transfer images themselves; empty in records of older versions.
        images, views: how many transfer images and training views there were.
        settings: what the method was run with.
        notes: what a reader should know.
        date: when the cell was done, UTC, ISO 8601; this and what follows is empty or None in
            records of older versions.
        versions: of what made it, by name.
        device: on what it was made.
        computed_in: the dtype that training ran in.
        revision: of the method.
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
    pixels_sha256: str = ""
    images: int | None = None
    views: int | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    date: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    device: str = ""
    computed_in: str = ""
    revision: int | None = None

    @property
    def key(self) -> CellKey:
        """Which cell it is of."""
        return CellKey(self.draw, self.shots, self.method)


class CellStore(RecordFolder):
    """The records of one comparison in its work folder."""

    def __init__(self, workdir: pathlib.Path) -> None:
        """Opens a work folder and changes nothing.

        Args:
            workdir: need not exist yet.
        """
        super().__init__(workdir, _FOLDER, owner="a comparison", since=_SINCE)

    def done(self, key: CellKey) -> CellRecord | None:
        """Returns the record of a cell that did not fail; None where there is none."""
        path = self.folder / key.file
        record = self._record(path) if path.exists() else None
        return None if record is None or record.error is not None else record

    def save(self, record: CellRecord) -> None:
        """Writes the record of a cell, in place of an earlier one."""
        content = {"schema": SCHEMA, **dataclasses.asdict(record)}
        write_json(self.folder / record.key.file, content)

    def save_teacher(self, figures: Mapping[str, Any]) -> None:
        """Writes what was measured of the teacher."""
        write_json(self.workdir / _TEACHER, figures)

    def teacher(self) -> dict[str, Any] | None:
        """Returns what was measured of the teacher; None where nothing was yet.

        Raises:
            KgraftError: its record is damaged.
        """
        path = self.workdir / _TEACHER
        if not path.exists():
            return None
        figures = _read(path)
        if not all(_is_number(figures.get(name)) for name in _TEACHER_FIGURES):
            raise _damaged(path, f"figures of the teacher: {', '.join(_TEACHER_FIGURES)}")
        return figures

    def check_records(self) -> None:
        """Reads everything there is, so that what is damaged is told of before hours of work.

        Raises:
            KgraftError: a record is damaged.
        """
        self.records()
        self.teacher()

    def check_images(
        self, shots: int, draw: int, *, sample_sha256: str, pixels_sha256: str
    ) -> None:
        """Checks that the cells done of a draw had the images that are drawn now.

        Args:
            shots: images per class.
            draw: number of the draw.
            sample_sha256: hash of the list of the images drawn now.
            pixels_sha256: hash of the images themselves.

        Raises:
            KgraftError: they had others; the record is named.
        """
        for record in self.records():
            same_draw = (record.draw, record.shots) == (draw, shots)
            # Records of older versions may lack either.
            same_list = record.sample_sha256 in ("", sample_sha256)
            if same_draw and not (same_list and record.pixels_sha256 in ("", pixels_sha256)):
                raise KgraftError(
                    f"{record.key.file} is of other images than are drawn now: the data set has "
                    "changed; go on with the one it had, or give another --workdir"
                )

    def records(self) -> tuple[CellRecord, ...]:
        """Returns all records, by draw, shots and the order of the methods.

        Raises:
            KgraftError: one is damaged.
        """
        found = [self._record(path) for path in self.paths()]
        return tuple(sorted(found, key=lambda r: (r.draw, r.shots, METHODS.index(r.method))))

    def _record(self, path: pathlib.Path) -> CellRecord:
        content = _read(path)
        names = {field.name for field in dataclasses.fields(CellRecord)}
        if content.get("schema") != SCHEMA or content.get("method") not in METHODS:
            raise _damaged(path, f"schema {SCHEMA} and a known method")
        values = {name: value for name, value in content.items() if name in names}
        needed = _NUMBERS if content.get("error") is not None else _NUMBERS + _FIGURES
        if not all(_is_number(values.get(name)) for name in needed):
            raise _damaged(path, f"numbers for {', '.join(needed)}")
        record = CellRecord(**{**values, "notes": tuple(values.get("notes") or ())})
        if record.key.file != path.name:
            raise _damaged(path, f"the cell that its name says; it is of {record.key.file}")
        return record


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except KgraftError as error:
        raise KgraftError(f"{error}; move it away") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _damaged(path: pathlib.Path, expected: str) -> KgraftError:
    return KgraftError(f"{path} is no record of a cell: expected {expected}; move it away")
