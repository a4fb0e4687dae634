"""LiteRT's own benchmark tools: found, run, and read, on this machine or from a phone."""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgraft.errors import KgraftError
from kgraft.export.records import Timing

# The C++ tool that also runs on phones, and the one that comes with ai-edge-litert.
NATIVE = "benchmark_model"
PYTHON = "litert-benchmark"
_ROUNDS = 3
_WARM_UP = 5
_TIMEOUT = 600
# Below it litert-benchmark's rounding to 0.01 ms is more than 1 %.
_TELLING_MS = 1.0

# Where all runs took the same time, as a single one does, there is no `avg`.
_COUNT = re.compile(r"\bcount=(\d+) (?:.*?\bavg|curr)=([\d.e+]+)(.*)")
_THREADS = re.compile(r"(?:Num threads|threads used for CPU inference): \[(\d+)\]")
_GRAPH = re.compile(r"Graph: \[(.+?)\]")
_SUMMARY = re.compile(r"Inference \(avg\): ([\d.e+]+)")
_MEMORY = re.compile(
    r"(?:peak memory footprint \(MB\) via periodic monitoring: |\boverall=)([\d.]+)"
)


def find_tool() -> Path | None:
    """Looks for a benchmark tool on PATH and beside this Python."""
    for name in (NATIVE, PYTHON):
        beside = Path(sys.executable).with_name(name)
        found = shutil.which(name) or (str(beside) if beside.is_file() else None)
        if found:
            return Path(found)
    return None


def time_by_tool(
    tool: Path, files: Mapping[str, Path], *, threads: int, runs: int
) -> dict[str, Timing]:
    """Measures several files with a tool, in rounds, so that a busy moment meets all of them.

    Args:
        tool: `benchmark_model` or `litert-benchmark`.
        files: name to path of a `.tflite` file.
        threads: threads one run may use.
        runs: how many runs of each file are timed.

    Returns:
        Name to times; each figure is the median over the rounds.

    Raises:
        KgraftError: the tool fails on a file, or says what cannot be read.
    """
    rounds: dict[str, list[Timing]] = {name: [] for name in files}
    for _ in range(_ROUNDS):
        for name, path in files.items():
            rounds[name].append(_run(tool, path, threads, max(1, runs // _ROUNDS)))
    return {name: _merged(taken) for name, taken in rounds.items()}


def check_resolution(tool: Path, timings: Mapping[str, Timing]) -> None:
    """Checks that what a tool measured is told with enough digits to be compared.

    Args:
        tool: what measured.
        timings: name to times.

    Raises:
        KgraftError: a file takes so little time that the tool's rounding would be 1 % and more.
    """
    name = min(timings, key=lambda name: timings[name].typical_ms, default=None)
    if tool.name == PYTHON and name is not None and timings[name].typical_ms < _TELLING_MS:
        raise KgraftError(
            f"{PYTHON} rounds to 0.01 ms, too coarse for {name} at "
            f"{timings[name].typical_ms:.2f} ms"
        )


def from_json(result: Mapping[str, Any]) -> Timing:
    """Reads what `litert-benchmark --result_json` wrote.

    Args:
        result: the parsed JSON.

    Raises:
        KgraftError: it has not the fields of that tool.
    """
    try:
        latency = result["latency"]
        return Timing(
            threads=int(result["num_threads"]),
            median_ms=float(latency["median_ms"]),
            p95_ms=float(latency["p95_ms"]),
            mean_ms=float(latency["avg_ms"]),
            runs=int(latency["num_runs"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise KgraftError(f"expected the JSON of {PYTHON}; it lacks {error}") from error


def from_log(log: str) -> tuple[str | None, Timing, float | None]:
    """Reads what `benchmark_model` printed, such as through adb, of one file.

    Args:
        log: its output.

    Returns:
        The model's path where it is told, the times, and MiB of memory where they are told.

    Raises:
        KgraftError: there is no line of inference times.
    """
    counts = [match for match in map(_COUNT.search, log.splitlines()) if match]
    if not counts or not _SUMMARY.search(log):
        raise KgraftError(f"expected the output of {NATIVE}, with a line of inference timings")
    # The runs that warm up come first.
    runs, mean, rest = counts[-1].groups()
    further = dict(re.findall(r"(\w+)=([\d.e+]+)", rest))
    threads, graph, memory = (pattern.search(log) for pattern in (_THREADS, _GRAPH, _MEMORY))
    timing = Timing(
        threads=int(threads[1]) if threads else 1,
        median_ms=_milliseconds(further.get("median")),
        p95_ms=_milliseconds(further.get("p95")),
        mean_ms=float(mean) / 1000,
        runs=int(runs),
    )
    return graph[1] if graph else None, timing, float(memory[1]) if memory else None


def _milliseconds(microseconds: str | None) -> float | None:
    return None if microseconds is None else float(microseconds) / 1000


def _run(tool: Path, path: Path, threads: int, runs: int) -> Timing:
    if tool.name == NATIVE:
        flags = [f"--graph={path}", f"--num_runs={runs}", f"--warmup_runs={_WARM_UP}"]
        return from_log(_output(tool, path, [*flags, f"--num_threads={threads}"]))[1]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        flags = [f"--model={path}", f"--num_runs={runs}", f"--warmup_runs={_WARM_UP}"]
        _output(tool, path, [*flags, f"--num_threads={threads}", f"--result_json={result}"])
        return from_json(json.loads(result.read_text(encoding="utf-8")))


def _output(tool: Path, path: Path, flags: list[str]) -> str:
    try:
        done = subprocess.run(
            [tool, *flags], capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KgraftError(f"{tool} cannot be run on {path}: {error}") from error
    if done.returncode:
        # The runtime goes on telling what it does after the error itself.
        said = (done.stderr or done.stdout).strip().splitlines()
        lines = [line for line in said if not line.startswith(("INFO", "WARNING"))]
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise KgraftError(f"{tool.name} failed on {path}: {reason}")
    return done.stdout + done.stderr


def _merged(rounds: list[Timing]) -> Timing:
    medians = [timing.median_ms for timing in rounds if timing.median_ms is not None]
    tails = [timing.p95_ms for timing in rounds if timing.p95_ms is not None]
    return Timing(
        threads=rounds[0].threads,
        median_ms=statistics.median(medians) if medians else None,
        p95_ms=statistics.median(tails) if tails else None,
        mean_ms=statistics.median(timing.mean_ms for timing in rounds),
        runs=sum(timing.runs for timing in rounds),
    )
