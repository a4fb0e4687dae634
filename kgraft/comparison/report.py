"""The table of a comparison: for the terminal, as JSON, as Markdown and as a picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.comparison.cells import SCHEMA, CellRecord, CellStore
from kgraft.comparison.picture import PICTURES, draw
from kgraft.comparison.remarks import machine_lines, method_lines, views_told
from kgraft.comparison.summary import (
    SummaryRow,
    cost_table,
    plain,
    shots_table,
    summarize,
)
from kgraft.data.write import write_json, writing_aside
from kgraft.errors import KgraftError
from kgraft.report import versions
from kgraft.report.layout import aligned, markdown

JSON_NAME = "compare.json"
MARKDOWN_NAME = "compare.md"
_TABLES = {
    "accuracy": "Test accuracy, %",
    "accuracy_among": "Test accuracy among the classes of the test set, %",
    "agreement": "Agreement with the teacher, %",
}


def write_comparison(
    workdir: pathlib.Path, store: CellStore, settings: Mapping[str, Any]
) -> tuple[SummaryRow, ...]:
    """Writes the tables and the picture from the records there are.

    Args:
        workdir: the work folder.
        store: its records.
        settings: what all cells have in common.

    Returns:
        The summary.

    Raises:
        KgraftError: the folder cannot be written to.
    """
    records, teacher = store.records(), store.teacher() or {}
    rows = summarize(records)
    content = {
        "schema": SCHEMA,
        "settings": settings,
        "teacher": teacher,
        "rows": plain(rows),
        "versions": versions(),
        "cells": [record.key.file for record in records],
    }
    try:
        write_json(workdir / JSON_NAME, content)
        with writing_aside(workdir / MARKDOWN_NAME) as aside:
            aside.write_text(_document(rows, records, teacher, settings), "utf-8")
        # A path says where something lies on one machine; its last part is the name.
        names = (settings["data"]["dataset"], settings["teacher"]["source"])
        title = "{}, teacher {}".format(*(pathlib.PurePath(name).name for name in names))
        draw(rows, workdir, teacher=teacher.get("accuracy"), title=title)
    except OSError as error:
        raise KgraftError(f"cannot write the comparison to {workdir}: {error}") from error
    return rows


def terminal_table(rows: Sequence[SummaryRow], teacher: Mapping[str, Any]) -> str:
    """Formats the summary for a terminal.

    Args:
        rows: the summary.
        teacher: what was measured of the teacher.
    """
    parts = [_teacher_line(teacher)]
    for figure, heading in _shown(rows).items():
        parts += ["", heading, aligned(shots_table(rows, figure))]
    parts += ["", aligned(cost_table(rows))]
    return "\n".join(parts)


def _shown(rows: Sequence[SummaryRow]) -> dict[str, str]:
    among = any(row.accuracy_among is not None for row in rows)
    return {k: v for k, v in _TABLES.items() if among or k != "accuracy_among"}


def _teacher_line(teacher: Mapping[str, Any]) -> str:
    if not teacher:
        return "teacher: not measured"
    among = teacher.get("accuracy_among")
    parts = [
        f"teacher: {100 * teacher['accuracy']:.2f} %",
        *([f"among the test set's classes {100 * among:.2f} %"] if among is not None else []),
        f"{teacher['parameters']:,} parameters",
        f"{teacher['macs'] / 1e6:,.1f} million MACs",
        f"{teacher['test_images']:,} test images",
    ]
    return ", ".join(parts)


def _document(
    rows: Sequence[SummaryRow],
    records: Sequence[CellRecord],
    teacher: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> str:
    opening = _teacher_line(teacher)
    lines = [
        "# Comparison",
        "",
        f"{opening[:1].upper()}{opening[1:]}.",
        _setting_line(settings, records),
    ]
    for figure, heading in _shown(rows).items():
        lines += ["", f"## {heading}", "", markdown(shots_table(rows, figure))]
        if figure == "accuracy":
            lines += ["", f"![accuracy over shots]({PICTURES[0]})"]
    lines += [
        "",
        "± is the standard deviation over few-shot draws; (n) behind it says that a figure is of "
        "n draws and not of all those of its column, so of other images. Every student is tested "
        "once, when its cell is done; nothing is chosen by test images.",
        *_same_images(records),
        "",
        "## Cost",
        "",
        markdown(cost_table(rows)),
        "",
        "Seconds are those to make, train and fuse the student, without the teacher's run over "
        "the views, which all methods share; `mir` runs it again for its features, `paper` over "
        "its part of the views.",
        *machine_lines(records),
        "",
        "## Methods",
        "",
        *method_lines(rows, records, teacher),
    ]
    failed = [record for record in records if record.error is not None]
    if failed:
        lines += ["", "## Failed cells", ""]
        lines += [f"- {r.method}, {r.shots}-shot, draw {r.draw}: {r.error}" for r in failed]
    return "\n".join(lines) + "\n"


def _same_images(records: Sequence[CellRecord]) -> list[str]:
    """Tells of draws that could not differ, because there are no more images."""
    lines: list[str] = []
    for shots in sorted({record.shots for record in records}):
        drawn = {r.draw: r.sample_sha256 for r in records if r.shots == shots and r.sample_sha256}
        if len(drawn) > len(set(drawn.values())) == 1:
            told = (
                "are of the same images, which are all there are: its ± is over views and training."
            )
            lines += ["", f"All draws of {shots}-shot {told}"]
    return lines


def _setting_line(settings: Mapping[str, Any], records: Sequence[CellRecord]) -> str:
    student, budget = settings["student"], settings["budget"]
    data = settings["data"]
    return (
        f"Student: `--graft={student['graft']} --student={student['source']}`. Budget of the "
        f"methods that train: {budget['updates']} updates of {budget['batch']} views; `paper` has "
        "its own for a teacher of 10 or 100 classes. All learn from the same views, "
        f"`--views={data['views']} --mixed_views={data['mixed_views']}{_extra(data)}`"
        f"{views_told(records, data['views'])}."
    )


def _extra(data: Mapping[str, Any]) -> str:
    if not data.get("extra_dataset"):
        return ""
    kind, _, path = data["extra_dataset"].partition(":")
    images, views = data["extra_images"], data["extra_views"]
    # Where something lies on one machine says nothing; its name does.
    name = f"{kind}:{pathlib.PurePath(path).name if kind in ('folder', 'npz') else path}"
    return f" --extra_dataset={name} --extra_images={images} --extra_views={views}"
