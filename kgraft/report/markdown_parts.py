"""Pieces of Markdown: sections, tables and cells."""

from collections.abc import Sequence
from typing import Any

from kgraft.report.json_report import plain
from kgraft.report.table import UNKNOWN


def section(title: str, *paragraphs: str) -> str:
    """Returns a heading and paragraphs under it; empty ones are left out."""
    return "\n\n".join([f"## {title}", *(text for text in paragraphs if text)]) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, figures aligned to the right."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(_line(cells) for cells in (headings, rule, *rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def escaped(text: str) -> str:
    """Returns a text that does not break a table."""
    return " ".join(text.replace("|", "\\|").split())


def shown(value: Any) -> str:
    """Returns a value as a cell: four digits of a float, `-` for what is not known."""
    value = plain(value)
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value) or UNKNOWN
    return str(value)
