"""`kgraft-benchmark`: files measured in turn in one run, the teacher among them if wanted."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import keras

from kgraft.errors import KgraftError
from kgraft.export import (
    Timing,
    check_resolution,
    find_tool,
    float32_bytes,
    is_onnx,
    measure_timings,
    open_interpreter,
    open_session,
    time_by_tool,
)
from kgraft.graph import as_model, trace_model
from kgraft.pipeline.stopwatch import tell
from kgraft.report import BenchmarkRow
from kgraft.zoo import load_teacher

IN_PROCESS = "in process"


def open_files(
    paths: Sequence[str], *, teacher: str | None, scratch: pathlib.Path
) -> dict[str, pathlib.Path]:
    """Finds the files to measure; Keras models become float32 `.tflite` files.

    Args:
        paths: `.tflite`, `.onnx` or `.keras` files.
        teacher: a teacher as kgraft-distill takes it, measured first; None for none.
        scratch: folder for what is converted.

    Returns:
        Name to path, in the order to measure.

    Raises:
        KgraftError: a file is missing, is of another kind, does not run, or shares its name; for an
            ONNX file onnxruntime is not installed.
    """
    found: dict[str, pathlib.Path] = {}
    if teacher is not None:
        found["teacher_float32.tflite"] = _converted(teacher, "teacher_float32", scratch)
    for given in paths:
        path = pathlib.Path(given)
        if path.suffix == ".keras":
            path = _converted(given, path.stem, scratch)
        elif not (is_onnx(path) or path.suffix == ".tflite"):
            raise KgraftError(f"expected .tflite, .onnx or .keras files; got {given}")
        open_session(path) if is_onnx(path) else open_interpreter(path)
        # Files of several runs have one name; what was given tells them apart.
        name = path.name if path.name not in found else given
        if name in found:
            raise KgraftError(f"{given} is given twice")
        found[name] = path
    return found


def measure(
    files: Mapping[str, pathlib.Path], *, threads: Sequence[int], runs: int, own_tool: bool
) -> tuple[BenchmarkRow, ...]:
    """Measures latency, memory and bytes of files, one after another in turns.

    Args:
        files: name to path of a `.tflite` or `.onnx` file.
        threads: thread counts.
        runs: how many runs of each file are timed at each count.
        own_tool: whether LiteRT's own benchmark tool measures, where there is one and no file is
            one of ONNX.

    Returns:
        One row a file.

    Raises:
        KgraftError: a file's runtime cannot run it.
    """
    # All by one means: figures of two are not to be compared.
    tool = find_tool() if own_tool and not any(map(is_onnx, files.values())) else None
    times: dict[int, dict[str, Timing]] = {}
    measured_by = IN_PROCESS if tool is None else tool.name
    for count in threads:
        tell(f"measuring {len(files)} file(s) at {count} thread(s) by {measured_by}")
        if tool is not None:
            try:
                times[count] = time_by_tool(tool, files, threads=count, runs=runs)
                check_resolution(tool, times[count])
                continue
            except KgraftError as error:
                tell(f"{error}; measuring all in process instead")
                return measure(files, threads=threads, runs=runs, own_tool=False)
        times[count] = measure_timings(files, threads=count, runs=runs, seconds=float(runs))
    return tuple(
        BenchmarkRow(
            name=name,
            bytes=path.stat().st_size,
            timings=tuple(times[count][name] for count in threads),
            peak_memory_mb=peak_memory(path, threads=threads[0]),
            measured_by=measured_by,
        )
        for name, path in files.items()
    )


def peak_memory(path: pathlib.Path, *, threads: int) -> float:
    """Measures by how many MiB loading and running a file raises the memory in use.

    Args:
        path: a `.tflite` or `.onnx` file.
        threads: threads one run may use.

    Raises:
        KgraftError: the process that runs it fails.
    """
    command = [sys.executable, "-m", "kgraft.cli.peak_memory", str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise KgraftError(f"measuring the memory of {path} failed: {reason[0]}")
    return float(json.loads(done.stdout)["mb"])


def thread_counts(text: str) -> tuple[int, ...]:
    """Reads thread counts.

    Args:
        text: checked numbers separated by commas; `all` is every core.

    Returns:
        Each count once, in the order given.
    """
    cores = os.cpu_count() or 1
    return tuple(dict.fromkeys(cores if part == "all" else int(part) for part in text.split(",")))


def _converted(source: str, name: str, scratch: pathlib.Path) -> pathlib.Path:
    """Writes a Keras model as a float32 file."""
    tell(f"converting {source} to float32")
    keras.utils.set_random_seed(0)
    graph = trace_model(load_teacher(source).model)
    # Models of one name each get a folder of their own.
    path = pathlib.Path(tempfile.mkdtemp(dir=scratch), f"{name}.tflite")
    path.write_bytes(float32_bytes(as_model(graph, name=name)))
    return path
