"""What the report of a comparison says beside its figures, as far as the records tell."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.comparison.cells import CellRecord
from kgraft.comparison.config import METHODS
from kgraft.comparison.methods import method
from kgraft.comparison.summary import SummaryRow

# A student that names one class always agrees about so often, as far as the teacher is balanced.
_NEAR_CHANCE = 0.01


def machine_lines(records: Sequence[CellRecord]) -> list[str]:
    """Says on which devices and by which versions the cells were made.

    Args:
        records: of all cells; those that failed do not count.

    Returns:
        An empty line and one of text; nothing where there is no cell.
    """
    good = [record for record in records if record.error is None]
    kinds = collections.Counter(_maker(record) for record in good if record.device)
    silent = len(good) - kinds.total()
    parts = [f"{count} on {kind}" for kind, count in kinds.most_common()]
    if silent:
        parts.append(f"{silent} of {len(good)} do not say")
    if not parts:
        return []
    apart = len(parts) > 1 or silent
    warning = "; seconds of different machines do not compare" if apart else ""
    return ["", f"Cells by device and versions: {'; '.join(parts)}{warning}."]


def _maker(record: CellRecord) -> str:
    found = sorted(record.versions.items())
    return f"{record.device} ({', '.join(f'{name} {version}' for name, version in found)})"


def views_told(records: Sequence[CellRecord], views: int) -> str:
    """Says which methods learned from the views of transfer images alone, where there are others.

    Args:
        records: of all cells.
        views: how many views each transfer image has.

    Returns:
        What follows the views in a sentence; empty where the records name no such cell.
    """
    plain: dict[str, set[int]] = {}
    silent: dict[str, set[int]] = {}
    for record in records:
        used, there = record.settings.get("views_used"), record.views or 0
        if record.error is not None or not method(record.method).plain_views:
            continue
        if used is None and there > views * (record.images or 0):
            silent.setdefault(record.method, set()).add(record.shots)
        elif used is not None and used < there:
            plain.setdefault(record.method, set()).add(record.shots)
    told = f"; from those of the transfer images alone {_listed(plain)}" if plain else ""
    return told + (f"; the records of {_listed(silent)} do not say from which" if silent else "")


def _listed(found: Mapping[str, set[int]]) -> str:
    names = sorted(found, key=METHODS.index)
    return " and ".join(
        f"`{name}` at {', '.join(f'{shots}-shot' for shots in sorted(found[name]))}"
        for name in names
    )


def method_lines(
    rows: Sequence[SummaryRow], records: Sequence[CellRecord], teacher: Mapping[str, Any]
) -> list[str]:
    """Says what each method is, how it chose its weights and what a reader should know.

    Args:
        rows: the summary.
        records: of all cells.
        teacher: what was measured of it; without `classes`, as in folders of older versions, no
            student is told to be at chance.

    Returns:
        One line for each method that has a cell that did not fail.
    """
    lines = []
    for name in METHODS:
        good = [r for r in records if r.method == name and r.error is None]
        if not good:
            continue
        about = method(name).about.rstrip(".")
        notes = list(dict.fromkeys(note for record in good for note in record.notes))
        notes += _derived(good)
        at = [row for row in rows if row.method == name and _at_chance(row, teacher)]
        if at:
            why = ": did not learn at this rate" if at[0].updates else ""
            notes.append(f"at chance at {', '.join(f'{row.shots}-shot' for row in at)}{why}")
        line = f"- `{name}`: {about}. Weights: {good[0].selection}."
        lines.append(f"{line} {'; '.join(notes)}." if notes else line)
    return lines


def _derived(good: Sequence[CellRecord]) -> list[str]:
    """Notes on how the cells of a method differ, or differ from other methods."""
    notes = []
    dtypes = sorted({r.computed_in for r in good} - {"", "float32"})
    if dtypes:
        notes.append(f"computed in {', '.join(dtypes)}, in part or all")
    revisions = sorted({r.revision for r in good if r.revision is not None})
    if len(revisions) > 1:
        notes.append(f"cells of revisions {', '.join(map(str, revisions))} of the method")
    return notes


def _at_chance(row: SummaryRow, teacher: Mapping[str, Any]) -> bool:
    classes = teacher.get("classes")
    if not classes or row.agreement is None:
        return False
    return abs(row.agreement.mean - 1 / classes) <= _NEAR_CHANCE
