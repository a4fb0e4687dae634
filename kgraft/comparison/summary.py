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
        draws: how many draws the figures are of.
        failed: how many cells failed.
        accuracy, accuracy_among, agreement: shares of the test images, 0..1.
        parameters, macs: of the student; the largest where draws differ.
        seconds, updates: mean of the draws.
    """

    method: str
    shots: int
    draws: int
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
    row = SummaryRow(first.method, first.shots, len(good), len(cells) - len(good))
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
        Text cells, headings first: percent with the spread over draws; `-` where there is none.
    """
    shots = sorted({row.shots for row in rows})
    methods = list(dict.fromkeys(row.method for row in rows))
    found = {(row.method, row.shots): row for row in rows}
    table = [("method", *(f"{k}-shot" for k in shots))]
    for method in methods:
        cells = [found.get((method, k)) for k in shots]
        table.append((method, *(_share(cell, figure) for cell in cells)))
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
            f"{row.draws}" + (f", {row.failed} failed" if row.failed else ""),
            _number(row.parameters, lambda v: f"{v:,}"),
            _number(row.macs, lambda v: f"{v / 1e6:,.1f}"),
            _number(row.updates, lambda v: f"{v:,.0f}"),
            _number(row.seconds, lambda v: f"{v:,.1f}"),
        )
        for row in rows
    ]


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Lays text cells out for a terminal: names to the left, figures to the right."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Lays text cells out as a Markdown table."""
    rule = ("---", *("---:" for _ in table[0][1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (table[0], rule, *table[1:]))


def plain(rows: Sequence[SummaryRow]) -> list[dict[str, Any]]:
    """Returns the summary as plain values."""
    return [dataclasses.asdict(row) for row in rows]


def _share(row: SummaryRow | None, figure: str) -> str:
    spread: Spread | None = getattr(row, figure) if row is not None else None
    if spread is None:
        return "failed" if row is not None and row.failed else UNKNOWN
    text = f"{100 * spread.mean:.2f}"
    return text if spread.deviation is None else f"{text} ± {100 * spread.deviation:.2f}"


def _number(value: Any, form: Callable[[Any], str]) -> str:
    return UNKNOWN if value is None else form(value)
