"""Benchmarks of files as a table and as JSON, and both tools' results read back."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgraft.errors import KgraftError
from kgraft.export import Timing, from_json, from_log
from kgraft.report.table import UNKNOWN

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """What was measured of one file.

    Attributes:
        name: the file's name.
        bytes: its size; None where it is not here.
        timings: one a thread count.
        peak_memory_mb: MiB by which loading and running it raised the memory in use.
        measured_by: the tool or runtime, and where.
    """

    name: str
    bytes: int | None
    timings: tuple[Timing, ...]
    peak_memory_mb: float | None
    measured_by: str


def benchmark_json(rows: Sequence[BenchmarkRow]) -> str:
    """Renders rows as JSON that `read_benchmark` reads.

    Args:
        rows: the rows.
    """
    content = {"schema": SCHEMA, "rows": [dataclasses.asdict(row) for row in rows]}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_benchmark(path: Path) -> tuple[BenchmarkRow, ...]:
    """Reads the results of kgraft-benchmark, of litert-benchmark or of benchmark_model.

    Args:
        path: JSON of one of the first two, or what the third printed, of one file or several.

    Returns:
        One row a file.

    Raises:
        KgraftError: it cannot be read, or is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise KgraftError(f"--read={path} cannot be read: {error.strerror}") from error
    try:
        rows = _rows(text, path)
        for row in rows:
            _check_row(row)
        if not rows:
            raise KgraftError("it holds no result")
        return rows
    except (KgraftError, KeyError, TypeError, RecursionError) as error:
        raise KgraftError(
            f"--read={path} must be the JSON of kgraft-benchmark or litert-benchmark, or the "
            f"output of benchmark_model: {error}"
        ) from error


def benchmark_table(rows: Sequence[BenchmarkRow]) -> str:
    """Formats rows for a terminal; ratios of times are to the first row measured by the same.

    Args:
        rows: at least one.

    Returns:
        Lines of aligned columns, as Markdown.
    """
    threads = sorted({timing.threads for row in rows for timing in row.timings})
    headings = ["file", "size (kB)", "times smaller"]
    for count in threads:
        name = f"{count} thread" + ("s" if count > 1 else "")
        headings += [f"ms, {name}", "p95", "times faster"]
    lines = [[*headings, "memory (MiB)", "measured by"]]
    firsts: dict[str, BenchmarkRow] = {}
    for row in rows:
        first = firsts.setdefault(row.measured_by, row)
        lines.append(_cells(row, rows[0].bytes, first, threads))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * width for width in widths]
    return "\n".join(_aligned(line, widths) for line in (lines[0], rule, *lines[1:]))


def _rows(text: str, path: Path) -> tuple[BenchmarkRow, ...]:
    try:
        found = json.loads(text)
    except ValueError:
        return tuple(_log_row(log, path) for log in _logs(text))
    if isinstance(found, dict) and "rows" in found:
        return tuple(_own_row(row, path) for row in found["rows"])
    results = found if isinstance(found, list) else [found]
    return tuple(_tool_row(result) for result in results)


def _check_row(row: BenchmarkRow) -> None:
    """Refuses what a table cannot show; a file may say anything."""
    numbers = [row.bytes, row.peak_memory_mb]
    for timing in row.timings:
        numbers += dataclasses.astuple(timing)
        if timing.threads is None or timing.mean_ms is None:
            raise KgraftError("a timing lacks its threads or its mean")
    for number in numbers:
        if number is not None and (
            not isinstance(number, (int, float)) or not math.isfinite(number)
        ):
            raise KgraftError(f"expected a number; got {number!r}")
    if not isinstance(row.name, str):
        raise KgraftError(f"expected the name of a file; got {row.name!r}")


def _logs(text: str) -> list[str]:
    """The output of several runs, without what a shell or linker said before the first."""
    before, *logs = re.split(r"(?=^.*\bSTARTING!)", text, flags=re.M)
    return logs if logs and "Inference timings" not in before else [before, *logs]


def _own_row(row: dict[str, Any], path: Path) -> BenchmarkRow:
    timings = tuple(Timing(**timing) for timing in row["timings"])
    # Not to be taken for what is measured now, here, nor for what another file tells.
    by = f"{row['measured_by']}, read from {path}"
    return BenchmarkRow(**row | {"timings": timings, "measured_by": by})


def _tool_row(result: dict[str, Any]) -> BenchmarkRow:
    timing = from_json(result)
    return BenchmarkRow(Path(result["model"]).name, None, (timing,), None, "litert-benchmark, read")


def _log_row(log: str, path: Path) -> BenchmarkRow:
    graph, timing, memory = from_log(log)
    name = Path(graph).name if graph else path.stem
    return BenchmarkRow(name, None, (timing,), memory, "benchmark_model, read")


def _cells(
    row: BenchmarkRow, first_bytes: int | None, first: BenchmarkRow, threads: Sequence[int]
) -> list[str]:
    cells = [row.name, _number(row.bytes, 1e-3, ",.1f"), _ratio(first_bytes, row.bytes)]
    theirs = {timing.threads: timing for timing in first.timings}
    mine = {timing.threads: timing for timing in row.timings}
    for count in threads:
        timing, other = mine.get(count), theirs.get(count)
        if timing is None:
            cells += [UNKNOWN] * 3
            continue
        cells += [
            _number(timing.typical_ms, 1, ".3f")
            + ("" if timing.median_ms is not None else " mean"),
            _number(timing.p95_ms, 1, ".3f"),
            _times_faster(other, timing),
        ]
    return [*cells, _number(row.peak_memory_mb, 1, ".1f"), row.measured_by]


def _number(value: float | None, factor: float, form: str) -> str:
    return UNKNOWN if value is None else format(value * factor, form)


def _times_faster(first: Timing | None, this: Timing) -> str:
    """A median against a mean would say nothing."""
    if first is None or (first.median_ms is None) != (this.median_ms is None):
        return UNKNOWN
    return _ratio(first.typical_ms, this.typical_ms)


def _ratio(first: float | None, this: float | None) -> str:
    return UNKNOWN if not first or not this else f"{first / this:.2f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if i in (0, len(line) - 1) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"
