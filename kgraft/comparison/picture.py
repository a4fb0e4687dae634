"""The picture: accuracy over shots, one line a method, with the spread over draws."""

import pathlib
from collections.abc import Sequence
from typing import Any

from kgraft.comparison.summary import SummaryRow
from kgraft.report.pictures import save_pictures

PICTURES = ("compare.svg", "compare.png")
_OURS = "kgraft"


def draw(
    rows: Sequence[SummaryRow], folder: pathlib.Path, *, teacher: float | None, title: str
) -> tuple[pathlib.Path, ...]:
    """Draws the summary as SVG and PNG.

    Args:
        rows: the summary.
        folder: where the pictures go.
        teacher: accuracy of the teacher, 0..1, drawn as a level line; None for none.
        title: of the picture.

    Returns:
        The files.
    """

    def paint(figure: Any) -> None:
        _draw_axes(figure.add_subplot(), rows, teacher, title)

    return save_pictures(folder, PICTURES, paint)


def _draw_axes(axes: Any, rows: Sequence[SummaryRow], teacher: float | None, title: str) -> None:
    shots = sorted({row.shots for row in rows})
    if teacher is not None:
        axes.axhline(100 * teacher, color="0.4", linestyle="--", linewidth=1, label="teacher")
    for number, method in enumerate(dict.fromkeys(row.method for row in rows)):
        points = [row for row in rows if row.method == method and row.accuracy is not None]
        if points:
            _draw_line(axes, method, points, number)
    axes.set_xscale("log")
    axes.set_xticks(shots, [str(k) for k in shots])
    axes.minorticks_off()
    axes.set_xlabel("images per class")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title)
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _draw_line(axes: Any, method: str, points: Sequence[SummaryRow], number: int) -> None:
    spreads = [row.accuracy for row in points if row.accuracy is not None]
    axes.errorbar(
        [row.shots for row in points],
        [100 * spread.mean for spread in spreads],
        yerr=[100 * (spread.deviation or 0.0) for spread in spreads],
        label=method,
        color=f"C{number}",
        marker="o",
        markersize=4,
        capsize=3,
        linewidth=2.5 if method == _OURS else 1.2,
        zorder=3 if method == _OURS else 2,
    )
