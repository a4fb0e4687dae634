"""Puts the results in docs/performance/ into the tables of docs/performance.md.

    python -m benchmarks.report            # the tables alone
    python -m benchmarks.report --measure  # every benchmark first: half an hour, nothing beside it

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; everything else is left as it is.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import command
from kgraft.errors import KgraftError

_DOCS = Path(__file__).parents[1] / "docs"
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

Rows = Sequence[Sequence[str]]


def render(text: str, results: dict[str, dict[str, Any]]) -> str:
    """Fills the tables of a document.

    Args:
        text: the document.
        results: what the benchmarks found, by the name of each.

    Returns:
        The document with new tables.

    Raises:
        KgraftError: a table has a name that is not known.
        KgraftError: its benchmark has no results.
    """

    def fill(found: re.Match[str]) -> str:
        name = found[2]
        if name not in TABLES:
            raise KgraftError(f"a table is one of {', '.join(TABLES)}; the document has {name!r}")
        stem, rows = TABLES[name]
        if stem not in results:
            raise KgraftError(
                f"table {name} needs docs/performance/{stem}.json; make it with "
                f"python -m {COMMANDS[stem]} --out docs/performance/{stem}.json"
            )
        return found[1] + _markdown(rows(results[stem])) + found[3]

    return _TABLE.sub(fill, text)


def _markdown(rows: Rows) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    rule = "|---" + "|---:" * (len(rows[0]) - 1) + "|"
    return "\n".join([head, rule, *body]) + "\n"


def _by_phase(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    phases = [(phase["name"], phase) for phase in found["phases"]]
    return [*phases, ("**mean of stage one**", found)]


def _step(found: dict[str, Any]) -> Rows:
    return [
        ("", "published", "kgraft cold", "kgraft cached", "cold", "cached"),
        *(
            (
                name,
                f"{at['published_ms']:.0f} ms",
                f"{at['kgraft_cold_ms']:.1f} ms",
                f"{at['kgraft_cached_ms']:.1f} ms",
                f"{at['ratio_cold']:.1f}x",
                f"{at['ratio_cached']:.1f}x",
            )
            for name, at in _by_phase(found)
        ),
    ]


def _step_no_grad(found: dict[str, Any]) -> Rows:
    return [
        ("", "published, target under `no_grad`", "cold", "cached"),
        *(
            (
                name,
                f"{at['published_no_grad_ms']:.0f} ms",
                f"{at['ratio_no_grad_cold']:.1f}x",
                f"{at['ratio_no_grad_cached']:.1f}x",
            )
            for name, at in _by_phase(found)
        ),
    ]


def _peak(found: dict[str, Any]) -> Rows:
    named = [(p["name"], p, "", f"{p['macs'] / 1e9:.2f}") for p in found["phases"]]
    for name, suffix in (("stage one", ""), ("stage two", "_stage_two"), ("all", "_all_updates")):
        named.append((f"**{name}**", found, suffix, ""))
    return [
        ("", "multiply-adds a step, 10^9", "fraction of peak", "without padding"),
        *(
            (
                name,
                macs,
                f"{at['peak_fraction' + suffix]:.2f}",
                f"{at['peak_fraction_inside' + suffix]:.2f}",
            )
            for name, at, suffix, macs in named
        ),
    ]


def _distillation(found: dict[str, Any]) -> Rows:
    rows = [("", "seconds", "published takes")]
    rows.append(("published", f"{found['published_s']:.0f}", ""))
    for start in ("random", "teacher"):
        seconds, ratio = found[f"kgraft_{start}_s"], found[f"ratio_{start}"]
        rows.append((f"kgraft, start {start}", f"{seconds:.1f}", f"{ratio:.1f}x"))
    return rows


def _parts(found: dict[str, Any]) -> Rows:
    runs = found["kgraft_seconds_by_part"]
    parts = list(runs["random"][-1])
    return [
        ("last round, seconds", *(f"start {start}" for start in runs)),
        *((part, *(f"{runs[start][-1].get(part, 0):.1f}" for start in runs)) for part in parts),
    ]


def _scaling(found: dict[str, Any]) -> Rows:
    rows = [("", "seconds", "of these bank", "training", "peak memory", "runs of the teacher")]
    for axis, along in found["axes"].items():
        for point in along["points"]:
            parts = point["seconds_by_part"]
            rows.append((
                f"{axis} {point[axis]}",
                f"{point['seconds']:.1f}",
                f"{parts['bank']:.1f}",
                f"{parts['training']:.1f}",
                f"{point['peak_memory_mb']:.0f} MiB",
                f"{point['teacher_runs_per_view']:.2f}",
            ))
    return rows


def _exponents(found: dict[str, Any]) -> Rows:
    keys = ("seconds", "bank", "training", "memory")
    return [
        ("exponent along", "of seconds", "bank", "training", "memory"),
        *(
            (
                axis if along["against"] == axis else f"{axis}, by {along['against']}",
                *(f"{along[f'exponent_{key}']:.2f}" for key in keys),
            )
            for axis, along in found["axes"].items()
        ),
    ]


def _export(found: dict[str, Any]) -> Rows:
    rows: list[tuple[str, ...]] = [("", "KiB", "ms at 1 thread", "ms at 2 threads")]
    for name, size in found["bytes"].items():
        times = (f"{found[f'{name}_{threads}t_ms']:.3f}" for threads in (1, 2))
        rows.append((name.replace("_", ", "), f"{size / 1024:.0f}", *times))
    for key in ("float32", "int8", "float32_to_int8"):
        named = {"float32_to_int8": "float32 teacher, int8 student"}.get(key, key)
        times = (f"{found[f'ratio_{key}_{threads}t']:.2f}x" for threads in (1, 2))
        rows.append((f"**teacher over student, {named}**", "", *times))
    return rows


def _machine(found: dict[str, Any]) -> Rows:
    about = found["machine"]
    versions = about["versions"]
    named = ("tensorflow", "keras", "torch", "ai-edge-litert", "python")
    return [
        ("", "machine"),
        ("processor", f"{about['cpu']}, {about['cpus']} cores"),
        ("threads", str(about["threads"])),
        ("large matrix product in the steps' type", f"{found['matrix_gflops']:.0f} GFLOP/s"),
        ("versions", ", ".join(f"{name} {versions[name]}" for name in named if name in versions)),
    ]


# Name of a file of results to what makes it.
COMMANDS = {
    "step": "benchmarks.step",
    "step_float32": "benchmarks.step --precision float32",
    "distillation": "benchmarks.distillation",
    "distillation_float32": "benchmarks.distillation --precision float32",
    "scaling": "benchmarks.scaling --axes blocks views depth size",
    "export": "benchmarks.export",
}

# Name of a table to its results and what makes its rows.
TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], Rows]]] = {
    "machine": ("step", _machine),
    "step": ("step", _step),
    "step_no_grad": ("step", _step_no_grad),
    "step_float32": ("step_float32", _step),
    "peak_float32": ("step_float32", _peak),
    "peak": ("step", _peak),
    "distillation": ("distillation", _distillation),
    "distillation_float32": ("distillation_float32", _distillation),
    "parts": ("distillation", _parts),
    "scaling": ("scaling", _scaling),
    "exponents": ("scaling", _exponents),
    "export": ("export", _export),
}


def _measure(results: Path) -> None:
    """Runs every benchmark, each in a process of its own."""
    for stem, run in COMMANDS.items():
        words = [sys.executable, "-m", *run.split(), "--out", str(results / f"{stem}.json")]
        if subprocess.run(words, stdout=sys.stderr).returncode:
            raise KgraftError(f"expected results of python -m {run}; it ended with an error")


def main() -> None:
    """Rewrites the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--document", type=Path, default=_DOCS / "performance.md")
    parser.add_argument("--results", type=Path, default=_DOCS / "performance")
    parser.add_argument("--measure", action="store_true", help="run the benchmarks first")
    flags = parser.parse_args()
    try:
        if flags.measure:
            _measure(flags.results)
        found = {
            path.stem: json.loads(path.read_text("utf-8")) for path in flags.results.glob("*.json")
        }
        command.write_whole(flags.document, render(flags.document.read_text("utf-8"), found))
    except (KgraftError, OSError, ValueError) as error:
        print(f"benchmarks.report: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
