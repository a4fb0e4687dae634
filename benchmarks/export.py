"""Teacher against student on the device's runtime: float32 and int8 in LiteRT at 1 and 2 threads.

    python -m benchmarks.export --json
    python -m benchmarks.export --json --workdir=runs/fashion_mnist

The embedded Fashion-MNIST teacher and the student of configs/fashion_mnist.flags, made here or
taken from a finished run. The teacher is exported as the student is, without labels. All files of a
thread count are measured in turns, one image at a time; milliseconds are medians.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import command
from kgraft.errors import KgraftError

THREADS = (1, 2)
FORMATS = ("float32", "int8")
_EMBEDDED = "embedded:fashion_mnist"
_FLAGFILE = Path(__file__).parents[1] / "configs" / "fashion_mnist.flags"
_RUNS = 500
_SECONDS = 10.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--workdir`."""
    parser.add_argument(
        "--workdir",
        type=Path,
        help="work folder of a finished run of configs/fashion_mnist.flags; made here without it",
    )


def measure(flags: argparse.Namespace) -> command.Results:
    """Measures all files.

    Args:
        flags: `workdir`; `threads` is not read, both counts are measured.

    Returns:
        Bytes, milliseconds by thread count, and ratios.
    """
    from benchmarks import machine
    from kgraft.export import EXPORTS, FILE_NAMES, measure_latencies

    others = machine.OtherWork()
    with tempfile.TemporaryDirectory() as scratch, _finished_run(flags.workdir) as workdir:
        folders = {"teacher": Path(scratch, EXPORTS), "student": workdir / EXPORTS}
        teacher = _export_teacher(folders["teacher"])
        files = {
            f"{model}_{name}": folder / FILE_NAMES[name]
            for name in FORMATS
            for model, folder in folders.items()
        }
        _check_there(files)
        sizes = {name: path.stat().st_size for name, path in files.items()}
        times = {}
        for threads in THREADS:
            command.tell(f"measuring {len(files)} files at {threads} thread(s)")
            times[threads] = measure_latencies(files, threads=threads, runs=_RUNS, seconds=_SECONDS)
    return {
        "benchmark": "export",
        "model": _EMBEDDED,
        "teacher": teacher,
        "bytes": sizes,
        **latency_figures(times),
        "machine": machine.describe(None, others),
    }


def latency_figures(times: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Puts milliseconds and ratios under their keys.

    Args:
        times: by threads and by `MODEL_FORMAT`, in milliseconds.

    Returns:
        `MODEL_FORMAT_THREADSt_ms`, and `ratio_FORMAT_THREADSt`: teacher over student in one format,
        and for `float32_to_int8` the teacher in float32 over the student in int8.
    """
    from benchmarks.arithmetic import ratios

    figures: dict[str, float] = {}
    compared = {"float32_to_int8": ("float32", "int8"), **{f: (f, f) for f in FORMATS}}
    for threads, found in times.items():
        figures |= {f"{name}_{threads}t_ms": value for name, value in found.items()}
        for key, (teacher, student) in compared.items():
            figures |= ratios(
                found,
                of={f"ratio_{key}": f"teacher_{teacher}"},
                to={f"{threads}t": f"student_{student}"},
            )
    return figures


@contextlib.contextmanager
def _finished_run(workdir: Path | None) -> Iterator[Path]:
    """The work folder given, or that of a run made here."""
    if workdir is not None:
        yield workdir
        return
    command.tell(f"distilling by {_FLAGFILE}")
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            [
                sys.executable,
                "-m",
                "kgraft.cli.distill",
                f"--flagfile={_FLAGFILE}",
                f"--workdir={folder}/run",
            ],
            stdout=sys.stderr,
        )
        if made.returncode:
            raise KgraftError(
                f"expected a student of {_FLAGFILE}; kgraft-distill ended with {made.returncode}"
            )
        yield Path(folder, "run")


def _check_there(files: dict[str, Path]) -> None:
    for path in files.values():
        if not path.exists():
            raise KgraftError(
                f"--workdir must be a finished run with float32 and int8 exports; {path} is missing"
            )


def _export_teacher(folder: Path) -> dict[str, int]:
    """Exports the teacher as the student is, and returns its size."""
    import numpy as np

    from kgraft.data import open_source
    from kgraft.data.preprocess import preprocess
    from kgraft.export import export_student
    from kgraft.graph import as_model, logits_graph, total_macs, trace_model
    from kgraft.zoo import load_teacher

    loaded = load_teacher(_EMBEDDED)
    graph, _ = logits_graph(trace_model(loaded.model), "auto")
    source = open_source(_EMBEDDED, split="train")
    images = np.stack([np.asarray(image) for image, _ in source.attempts()])
    calibration = preprocess(images, loaded.preprocess).astype(np.float32)
    model = as_model(graph, name="teacher")
    export_student(model, folder=folder, formats=FORMATS, calibration=calibration)
    return {"parameters": graph.parameters, "macs": total_macs(graph)}


if __name__ == "__main__":
    command.run("export", "Teacher against student in LiteRT.", measure, add_flags=add_flags)
