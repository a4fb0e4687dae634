"""The pictures of a search: the front, what mattered, and what each block cost."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.report.pictures import save_pictures
from kgraft.tuning.analysis import block_points, pareto_front
from kgraft.tuning.config import TuneConfig
from kgraft.tuning.objective import QUALITIES
from kgraft.tuning.prune import quality_of, within_bounds
from kgraft.tuning.records import START, TrialRecord

_SIZE = (6.4, 4.4)


def draw_search(
    records: Sequence[TrialRecord],
    shares: Mapping[str, float],
    config: TuneConfig,
    folder: pathlib.Path,
) -> tuple[pathlib.Path, ...]:
    """Draws all pictures, each as SVG and PNG.

    Args:
        records: of all trials.
        shares: importance by parameter.
        config: the settings of the search.
        folder: where the pictures go.

    Returns:
        The files.
    """

    def front(figure: Any) -> None:
        _front(figure.add_subplot(), records, config)

    def mattered(figure: Any) -> None:
        _importance(figure.add_subplot(), shares)

    def blocks(figure: Any) -> None:
        _blocks(figure.add_subplot(), records)

    painters = {"front": front, "importance": mattered, "blocks": blocks}
    return tuple(
        path
        for name, paint in painters.items()
        for path in save_pictures(folder, (f"{name}.svg", f"{name}.png"), paint, size=_SIZE)
    )


def _front(axes: Any, records: Sequence[TrialRecord], config: TuneConfig) -> None:
    whole = [r for r in records if r.whole]
    points = {
        "trials": [r for r in whole if r.trial != START],
        "the settings it began with": [r for r in whole if r.trial == START],
    }
    for number, (label, found) in enumerate(points.items()):
        if found:
            x = [r.shares["latency"] for r in found]
            y = [100 * quality_of(r, config) for r in found]
            marker, size = ("o", 22) if number == 0 else ("*", 120)
            axes.scatter(x, y, s=size, marker=marker, color=f"C{number}", label=label, zorder=3)
    front = pareto_front(records, config)
    # Who is short of --min_accuracy lies above the line and is not on it.
    refused = not all(within_bounds(r, config) for r in whole)
    if front:
        axes.step(
            [r.shares["latency"] for r in front],
            [100 * quality_of(r, config) for r in front],
            where="post",
            color="0.5",
            linewidth=1,
            label="Pareto front within the bounds" if refused else "Pareto front",
        )
    bound = config.bounds.get("latency")
    if bound is not None:
        axes.axvline(bound, color="C3", linestyle="--", linewidth=1, label="--max_latency")
    axes.set_xlabel("milliseconds, as a share of the teacher's")
    axes.set_ylabel(f"{QUALITIES[config.objective]}, %")
    axes.grid(color="0.9")
    if whole:
        axes.legend(frameon=False)


def _importance(axes: Any, shares: Mapping[str, float]) -> None:
    names = list(shares)[::-1]
    axes.barh(names, [100 * shares[name] for name in names], color="C0")
    axes.set_xlabel("of the spread of scores explained by it alone, %")
    axes.set_xlim(0, 100)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _blocks(axes: Any, records: Sequence[TrialRecord]) -> None:
    points = block_points(records)
    for index in sorted({point["block"] for point in points}):
        mine = [point for point in points if point["block"] == index]
        axes.scatter(
            [100 * point["macs_share"] for point in mine],
            [100 * point["agreement"] for point in mine],
            s=22,
            color=f"C{index}",
            label=f"block {index}",
        )
    axes.set_xlabel("multiply-adds that the block keeps, %")
    axes.set_ylabel("agreement with that block alone replaced, %")
    axes.grid(color="0.9")
    if points:
        axes.legend(frameon=False)
