"""The picture: accuracy over shots, one line a method, with the spread over draws."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from kgraft.comparison.summary import SummaryRow
from kgraft.data.write import writing_aside

PICTURES = ("compare.svg", "compare.png")
_OURS = "kgraft"
_FORMATS = {".svg": "svg", ".png": "png"}


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


def save_pictures(
    folder: pathlib.Path,
    names: Sequence[str],
    paint: Callable[[Any], None],
    *,
    size: tuple[float, float] = (7.2, 4.8),
) -> tuple[pathlib.Path, ...]:
    """Saves one figure under several names; each file is whole or absent.

    Args:
        folder: where the pictures go.
        names: names of SVG and PNG files.
        paint: draws on an empty Matplotlib figure.
        size: width and height in inches.

    Returns:
        The files.
    """
    # Late and without pyplot: importing it takes a second, and it would look for a display.
    import matplotlib
    from matplotlib.figure import Figure

    # Names of SVG elements from a fixed salt, so that the same table gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "kgraft", "svg.fonttype": "none"}):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        made = []
        for name in names:
            path = folder / name
            form = _FORMATS[path.suffix]
            metadata = {"Date": None} if form == "svg" else None
            with writing_aside(path) as aside:
                figure.savefig(aside, format=form, dpi=150, metadata=metadata)
            made.append(path)
    return tuple(made)


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
