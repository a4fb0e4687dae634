"""How time and memory of a distillation grow with blocks, views, teacher, image size and replicas.

    python -m benchmarks.scaling --json

Every point is a whole run in a fresh process, from images and teacher to the fused student: a CIFAR
ResNet of random weights on noise, all blocks but the first at half width. One setting changes along
an axis, the others stay at the base. `exponent_*` are fitted to the points of an axis: 1 is linear
growth, 0 none.
"""

import argparse
from typing import Any

from benchmarks import apart, command
from kgraft.config import PRECISIONS

# Long enough for the part under study to outweigh what each run does once.
BASE: dict[str, Any] = {
    "blocks": 3,
    "views": 512,
    "depth": 20,
    "size": 32,
    "replicas": 1,
    "steps": (40, 40),
}
AXES: dict[str, tuple[int, ...]] = {
    "blocks": (2, 3, 5, 9),
    "views": (512, 1024, 2048, 4096),
    "depth": (20, 32, 56),
    "size": (32, 48, 64),
    "replicas": (1, 2),
}
# What an axis means in work: deeper teachers and larger images are held against multiply-adds.
_MEASURES = {"blocks": "phases", "depth": "teacher_macs", "size": "teacher_macs"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--axes` and `--precision`."""
    parser.add_argument(
        "--axes", nargs="+", choices=list(AXES), default=list(AXES), help="what to measure"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="what kgraft computes in"
    )


def measure(flags: argparse.Namespace) -> command.Results:
    """Measures every point once.

    Args:
        flags: `threads`, `axes` and `precision`.

    Returns:
        The points of each axis, and the exponents of their growth.
    """
    from benchmarks import machine

    others = machine.OtherWork()
    fixed = {"precision": flags.precision, "threads": flags.threads}
    axes = {}
    for axis in flags.axes:
        points = [_point(axis, value, fixed) for value in AXES[axis]]
        axes[axis] = {**exponents(axis, points), "points": points}
    return {
        "benchmark": "scaling",
        "base": BASE,
        "precision": flags.precision,
        "axes": axes,
        "machine": machine.describe(flags.threads, others),
    }


def _point(axis: str, value: int, fixed: dict[str, Any]) -> dict[str, Any]:
    command.tell(f"measuring {axis} {value}")
    settings = {**BASE, axis: value, **fixed}
    with apart.Apart("benchmarks.scaling_point:make", **settings) as measured:
        return {axis: value, **measured()}


def exponents(axis: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Fits the growth along an axis.

    Args:
        axis: its name.
        points: what was measured, by `seconds`, `seconds_by_part` and `peak_memory_mb`.

    Returns:
        What the growth is held against, and the exponents of time, of the parts `bank` and
        `training`, and of the memory beyond that before the run.
    """
    from benchmarks.arithmetic import fitted_exponent

    against = _MEASURES.get(axis, axis)
    xs = [point[against] for point in points]
    measured = {
        "seconds": [point["seconds"] for point in points],
        "bank": [point["seconds_by_part"]["bank"] for point in points],
        "training": [point["seconds_by_part"]["training"] for point in points],
        "memory": [point["peak_memory_mb"] - point["memory_before_mb"] for point in points],
    }
    fitted = {f"exponent_{name}": fitted_exponent(xs, ys) for name, ys in measured.items()}
    return {"against": against, **fitted}


if __name__ == "__main__":
    command.run("scaling", "Growth of time and memory.", measure, add_flags=add_flags)
