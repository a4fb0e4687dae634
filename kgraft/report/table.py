"""The report's table of models: text cells, and the cells aligned for a terminal."""

from collections.abc import Sequence

from kgraft.report.layout import aligned
from kgraft.report.records import ModelRow

HEADINGS = (
    "model",
    "accuracy %",
    "among classes %",
    "agreement %",
    "parameters",
    "MACs (M)",
    "size (kB)",
    "latency (ms)",
    "gzipped (kB)",
)
UNKNOWN = "-"


def format_table(rows: Sequence[ModelRow]) -> str:
    """Formats the table of models for a terminal.

    Args:
        rows: the models, in the order to show them.

    Returns:
        Lines of aligned columns: the headings, a rule, one line per model; no newline at the end.
    """
    return aligned(table_cells(rows))


def table_cells(rows: Sequence[ModelRow]) -> list[tuple[str, ...]]:
    """Formats the figures of all models.

    Args:
        rows: the models.

    Returns:
        The headings and one line per model. The accuracy among the test set's classes is left out
        where it is unknown for all, as it is where these are all the classes there are; so is the
        gzipped size, which only runs that compress the student measure.
    """
    cells = [HEADINGS, *(row_cells(row) for row in rows)]
    if all(row.gzip_bytes is None for row in rows):
        cells = [line[:-1] for line in cells]
    if all(row.accuracy_among is None for row in rows):
        return [(*line[:2], *line[3:]) for line in cells]
    return cells


def row_cells(row: ModelRow) -> tuple[str, ...]:
    """Formats the figures of one model.

    Args:
        row: the model.

    Returns:
        One text per heading: shares in percent with two decimals, multiply-adds in millions, size
        in thousands of bytes; `-` where a figure is not known.
    """
    return (
        row.name,
        _number(row.accuracy, 100, ".2f"),
        _number(row.accuracy_among, 100, ".2f"),
        _number(row.agreement, 100, ".2f"),
        _number(row.parameters, 1, ",.0f"),
        _number(row.macs, 1e-6, ",.1f"),
        _number(row.bytes, 1e-3, ",.1f"),
        _number(row.latency_ms, 1, ".2f"),
        _number(row.gzip_bytes, 1e-3, ",.1f"),
    )


def _number(value: float | None, factor: float, form: str) -> str:
    return UNKNOWN if value is None else format(value * factor, form)
