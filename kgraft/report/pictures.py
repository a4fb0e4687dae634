"""Figures saved as SVG and PNG, the same bytes for the same figures."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from kgraft.data.write import writing_aside

_FORMATS = {".svg": "svg", ".png": "png"}


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
