"""Which operators a `.tflite` file spends its time in, and what they take in another file.

    python -m benchmarks.operators teacher_float32.tflite student_int8.tflite --threads=1

Every file is cut off behind each of its operators in turn. What a piece takes longer than the one
before it is its last operator's time. All pieces are measured in turns, one image at a time; a
piece's time is the least of its runs, as a difference of medians would be lost in what the machine
does beside. Of operators that LiteRT runs as one the sum holds, not each one's share: the first of
them runs by itself where a piece ends with it. One that makes several tensors counts with the next.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.turns import take_turns

_BURST = 10


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the files and `--rounds`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a .tflite file")
    parser.add_argument(
        "--rounds", type=command.positive, default=60, help="turns of each piece, of ten runs"
    )


def measure(flags: argparse.Namespace) -> command.Results:
    """Measures all files.

    Args:
        flags: `files`, `rounds`, `threads`.

    Returns:
        For each file, by its path: `operators` in the order they run, each with what it does, its
        tensor's shape and its milliseconds, and `kinds`, milliseconds by what is done.

    Raises:
        KgraftError: a file is missing, is no TFLite file, or LiteRT cannot run it.
    """
    from benchmarks import machine
    from kgraft.export.runner import load_interpreter

    others = machine.OtherWork()
    threads = flags.threads or os.cpu_count() or 1
    data = {}
    for path in flags.files:
        load_interpreter(path)
        data[str(path)] = path.read_bytes()
    results = {
        "benchmark": "operators",
        "threads": threads,
        "files": operator_times(data, threads=threads, rounds=flags.rounds),
        "machine": machine.describe(None, others),
    }
    if not flags.json:
        print(table(results["files"]))
    return results


def operator_times(
    files: Mapping[str, bytes], *, threads: int = 1, rounds: int = 60
) -> dict[str, Any]:
    """Measures what the operators of files take.

    Args:
        files: whole `.tflite` files of one graph, by name.
        threads: threads that one run may use.
        rounds: how often each piece has its turn.

    Returns:
        What `measure` returns for each file.

    Raises:
        KgraftError: LiteRT cannot run a file.
    """
    from kgraft.export.flatbuffer import read_ops

    ops = {name: read_ops(data)[0] for name, data in files.items()}
    pieces = {
        (name, op.output): _burst(cut_behind(files[name], op.output), threads)
        for name, found in ops.items()
        for op in found
    }
    command.tell(f"measuring {len(pieces)} pieces at {threads} thread(s)")
    times = take_turns(pieces, rounds=rounds)
    return {
        name: _figures(found, [min(times[name, op.output]) for op in found], files[name])
        for name, found in ops.items()
    }


def cut_behind(data: bytes, tensor: int) -> bytes:
    """Returns a `.tflite` file that stops behind one of its operators.

    Args:
        data: a whole file.
        tensor: number of the tensor that the operator makes; it becomes the file's output.
    """
    from ai_edge_litert import schema_py_generated as schema

    from kgraft.export.flatbuffer import pack_model

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    end = next(i for i, operator in enumerate(graph.operators) if tensor in operator.outputs)
    graph.operators = graph.operators[: end + 1]
    graph.outputs = [tensor]
    model.signatureDefs = []
    return pack_model(model, data)


def _burst(data: bytes, threads: int) -> Callable[[], float]:
    """Some runs in a row, which return the least milliseconds of one."""
    from kgraft.export.latency import ready_run

    run = ready_run(data, threads=threads)

    def burst() -> float:
        run()  # finds the caches full of another piece
        times = []
        for _ in range(_BURST):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        return 1000 * min(times)

    return burst


def _figures(ops: Sequence[Any], until: Sequence[float], data: bytes) -> dict[str, Any]:
    """A file's figures from what it takes until behind each operator."""
    from ai_edge_litert import schema_py_generated as schema

    tensors = schema.Model.GetRootAs(data, 0).Subgraphs(0)
    rows, kinds, before = [], {}, 0.0
    for op, reached in zip(ops, until, strict=True):
        # An operator that the next one swallows takes longer alone than the two together.
        taken, before = max(0.0, reached - before), max(before, reached)
        tensor = tensors.Tensors(op.output)
        shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
        rows.append({"op": op.op, "shape": shape, "ms": taken})
        kinds[op.op] = kinds.get(op.op, 0.0) + taken
    return {"ms": until[-1], "kinds": kinds, "operators": rows}


def table(files: Mapping[str, Any]) -> str:
    """Renders what `operator_times` returns as one Markdown table a file."""
    parts = []
    for name, found in files.items():
        head = [f"{name}: {found['ms']:.4f} ms", "", "| operator | makes | ms |", "|---|---|---:|"]
        rows = [
            f"| {row['op']} | {' x '.join(map(str, row['shape'][1:]))} | {row['ms']:.4f} |"
            for row in found["operators"]
        ]
        rows += [f"| all {kind} | | {ms:.4f} |" for kind, ms in found["kinds"].items()]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    command.run("operators", "Operators of .tflite files by time.", measure, add_flags=add_flags)
