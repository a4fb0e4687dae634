"""What a view bank keeps of the teacher's activations, within a budget of memory and disk."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kgraft.grafting.rows import FileRows, MemoryRows


@dataclasses.dataclass(frozen=True)
class Room:
    """How much may be kept, and how.

    Attributes:
        memory_mb: memory, in MiB.
        disk_mb: disk space for positions that do not fit in memory, in MiB.
        dtype: `float32`, or `float16` for half the size.
        folder: where the disk space is; None for the system's folder for passing files.
    """

    memory_mb: float = 0
    disk_mb: float = 0
    dtype: str = "float32"
    folder: str | Path | None = None


def place_positions(sizes: Mapping[int, int], room: Room) -> dict[int, str]:
    """Says where each position is kept: in memory while it fits, else on disk while it fits.

    Args:
        sizes: bytes by position, the most wanted first.
        room: what there is.

    Returns:
        `memory` or `disk` by position. One that fits nowhere is left out; smaller ones after it
        may still fit.
    """
    left = {"memory": room.memory_mb * 2**20, "disk": room.disk_mb * 2**20}
    placed = {}
    for position, size in sizes.items():
        found = next((place for place in left if size <= left[place]), None)
        if found is not None:
            left[found] -= size
            placed[position] = found
    return placed


class Cache(Mapping[int, MemoryRows | FileRows]):
    """Rows by position, in rising order.

    Attributes:
        too_large: positions with values beyond float16's range, kept in float32 where there is
            room although float16 was asked for.
    """

    def __init__(self, views: np.ndarray) -> None:
        """Starts with the views at position 0."""
        self._count = len(views)
        self._kept: dict[int, MemoryRows | FileRows] = {0: MemoryRows(views)}
        self.too_large: frozenset[int] = frozenset()

    def __getitem__(self, position: int) -> MemoryRows | FileRows:
        """Returns the rows of a position."""
        return self._kept[position]

    def __iter__(self) -> Iterator[int]:
        """Yields the positions in rising order."""
        return iter(sorted(self._kept))

    def __len__(self) -> int:
        """Returns how many positions are kept."""
        return len(self._kept)

    def make_room(self, shapes: Mapping[int, tuple[int, ...]], room: Room) -> None:
        """Makes empty rows for the positions that fit, in place of what was kept before.

        Args:
            shapes: of one example, by position, the most wanted first; the last one is the logits,
                which are always kept, in float32.
            room: what there is.

        Raises:
            KgraftError: the folder of the disk space cannot be written to.
        """
        count = self._count
        for position in [p for p in self._kept if p > 0]:
            self._kept.pop(position).close()
        *wanted, last = shapes
        dtypes = {p: "float32" if p in self.too_large else room.dtype for p in wanted}
        sizes = {p: count * math.prod(shapes[p]) * np.dtype(dtypes[p]).itemsize for p in wanted}
        for position, place in place_positions(sizes, room).items():
            shape = (count, *shapes[position])
            if place == "disk":
                self._kept[position] = FileRows(shape, dtypes[position], room.folder)
            else:
                self._kept[position] = MemoryRows.empty(shape, dtypes[position])
        self._kept[last] = MemoryRows.empty((count, *shapes[last]), "float32")

    def put(self, first: int, values: Mapping[int, np.ndarray]) -> bool:
        """Keeps the rows from `first` on.

        Args:
            first: number of the first row.
            values: float32 `[rows, ...]` by position; those that are not kept are passed over.

        Returns:
            Whether all fit in their type; if not, the positions are in `too_large` from now on.

        Raises:
            KgraftError: the disk is full.
        """
        large = {p for p in values if p in self._kept and not self._put(p, first, values[p])}
        self.too_large |= large
        return not large

    def _put(self, position: int, first: int, values: np.ndarray) -> bool:
        rows = self._kept[position]
        if rows.dtype != values.dtype:
            with np.errstate(over="ignore"):
                values = values.astype(rows.dtype)
            if not np.isfinite(values).all():
                return False
        rows.put(first, values)
        return True

    def close(self) -> None:
        """Lets memory and disk space go."""
        for rows in self._kept.values():
            rows.close()
        self._kept.clear()
