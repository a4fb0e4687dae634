"""Mean and spread of every method and number of shots, as records and as tables."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from kgraft.comparison.cells import CellRecord
from kgraft.comparison.config import METHODS

UNKNOWN = "-"


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and spread over draws.

    Attributes:
        mean: the mean.
        deviation: the standard deviation over draws (with n - 1); None for a single draw.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Takes mean and spread of one value or more."""
        spread = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), spread)


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """A method with a number of shots.

    Attributes:
        method, shots: which.
        draws: numbers of the draws that the figures are of, rising.
        failed: how many cells failed.
        accuracy, accuracy_among, agreement: shares of the test images, 0..1.
        parameters, macs: of the student; the largest where draws differ.
        seconds, updates: mean of the draws.
    """

    method: str
    shots: int
    draws: tuple[int, ...]
    failed: int
    accuracy: Spread | None = None
    accuracy_among: Spread | None = None
    agreement: Spread | None = None
    parameters: int | None = None
    macs: int | None = None
    seconds: float | None = None
    updates: float | None = None


def summarize(records: Sequence[CellRecord]) -> tuple[SummaryRow, ...]:
    """Sums up records.

    Args:
        records: any number of cells.

    Returns:
        One row for each method and number of shots that has a cell, in the order of the methods.
    """
    keys = sorted({(METHODS.index(r.method), r.shots) for r in records})
    return tuple(
        _row([r for r in records if (r.method, r.shots) == (METHODS[number], shots)])
        for number, shots in keys
    )


def _row(cells: list[CellRecord]) -> SummaryRow:
    good = [cell for cell in cells if cell.error is None]
    first = cells[0]
    draws = tuple(sorted(cell.draw for cell in good))
    row = SummaryRow(first.method, first.shots, draws, len(cells) - len(good))
    if not good:
        return row
    return dataclasses.replace(
        row,
        accuracy=_spread(good, "accuracy"),
        accuracy_among=_spread(good, "accuracy_among"),
        agreement=_spread(good, "agreement"),
        parameters=max(cell.parameters or 0 for cell in good),
        macs=max(cell.macs or 0 for cell in good),
        seconds=statistics.fmean(cell.seconds or 0.0 for cell in good),
        updates=statistics.fmean(cell.updates or 0 for cell in good),
    )


def _spread(cells: list[CellRecord], name: str) -> Spread | None:
    values = [getattr(cell, name) for cell in cells]
    return None if None in values else Spread.of(values)


def shots_table(rows: Sequence[SummaryRow], figure: str) -> list[tuple[str, ...]]:
    """Puts methods against shots.

    Args:
        rows: the summary.
        figure: `accuracy`, `accuracy_among` or `agreement`.

    Returns:
        Text cells, headings first: percent with the spread over draws, and the number of draws in
        brackets where others of the column have further ones; `-` where there is none.
    """
    shots = sorted({row.shots for row in rows})
    methods = list(dict.fromkeys(row.method for row in rows))
    found = {(row.method, row.shots): row for row in rows}
    every = {k: {draw for row in rows if row.shots == k for draw in row.draws} for k in shots}
    table = [("method", *(f"{k}-shot" for k in shots))]
    for method in methods:
        cells = [found.get((method, k)) for k in shots]
        shares = (_share(cell, figure, every[k]) for cell, k in zip(cells, shots, strict=True))
        table.append((method, *shares))
    return table


def cost_table(rows: Sequence[SummaryRow]) -> list[tuple[str, ...]]:
    """Lists what each method and number of shots took and made.

    Args:
        rows: the summary.

    Returns:
        Text cells, headings first.
    """
    headings: tuple[str, ...] = (
        "method",
        "shots",
        "draws",
        "parameters",
        "MACs (M)",
        "updates",
        "seconds",
    )
    return [headings] + [
        (
            row.method,
            str(row.shots),
            f"{len(row.draws)}" + (f", {row.failed} failed" if row.failed else ""),
            _number(row.parameters, lambda v: f"{v:,}"),
            _number(row.macs, lambda v: f"{v / 1e6:,.1f}"),
            _number(row.updates, lambda v: f"{v:,.0f}"),
            _number(row.seconds, lambda v: f"{v:,.1f}"),
        )
        for row in rows
    ]


def plain(rows: Sequence[SummaryRow]) -> list[dict[str, Any]]:
    """Returns the summary as plain values."""
    return [dataclasses.asdict(row) for row in rows]


def _share(row: SummaryRow | None, figure: str, every: set[int]) -> str:
    spread: Spread | None = getattr(row, figure) if row is not None else None
    if row is None or spread is None:
        return "failed" if row is not None and row.failed else UNKNOWN
    text = f"{100 * spread.mean:.2f}"
    if spread.deviation is not None:
        text = f"{text} ± {100 * spread.deviation:.2f}"
    return text if set(row.draws) == every else f"{text} ({len(row.draws)})"


def _number(value: Any, form: Callable[[Any], str]) -> str:
    return UNKNOWN if value is None else form(value)
