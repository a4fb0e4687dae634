"""What to type to run a file on a phone, and what to do with it on a microcontroller."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from kgraft.export.flatbuffer import least_arena, read_contents
from kgraft.export.litert_tool import NATIVE
from kgraft.export.runner import load_interpreter

_ON_PHONE = "/data/local/tmp"
_BINARIES = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/android_aarch64_benchmark_model"
)


def phone_commands(paths: list[Path], *, runs: int) -> list[str]:
    """Returns the commands that measure files on an Android phone and read the result back.

    Args:
        paths: `.tflite` files.
        runs: how many runs of each are timed.
    """
    lines = [
        f"curl -o {NATIVE} {_BINARIES}",
        f"adb push {NATIVE} {_ON_PHONE} && adb shell chmod +x {_ON_PHONE}/{NATIVE}",
    ]
    logs = []
    for path, name in zip(paths, _names_on_phone(paths), strict=True):
        lines += [
            f"adb push {shlex.quote(str(path))} {_ON_PHONE}/{name}.tflite",
            f"adb shell {_ON_PHONE}/{NATIVE} --graph={_ON_PHONE}/{name}.tflite "
            f"--num_threads=1 --num_runs={runs} --use_xnnpack=true "
            f"--report_peak_memory_footprint=true > {name}.log 2>&1",
        ]
        logs.append(f"{name}.log")
    return [*lines, f"kgraft-benchmark --read={','.join(logs)}"]


def _names_on_phone(paths: list[Path]) -> Iterator[str]:
    """Names of files, each once, that no shell reads anything into, nor --read a comma."""
    given: set[str] = set()
    for path in paths:
        plain = name = re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem)
        number = 1
        while name in given:
            number += 1
            name = f"{plain}_{number}"
        given.add(name)
        yield name


def microcontroller_notes(path: Path) -> list[str]:
    """Returns what to do with a file on a microcontroller, or why it does not go there.

    Args:
        path: a `.tflite` file.

    Raises:
        KgraftError: there is no such file, or it is none.
    """
    load_interpreter(path)
    data = path.read_bytes()
    contents = read_contents(data)
    if contents.float_tensors:
        return [f"{path.name}: has floating-point tensors; export int8"]
    if not contents.static:
        return [f"{path.name}: has open shapes; export it without --dynamic_batch"]
    if contents.custom_ops:
        return [f"{path.name}: has custom ops: {', '.join(contents.custom_ops)}"]
    return [
        f"xxd -i {shlex.quote(str(path))} > {shlex.quote(path.stem + '.cc')}",
        f"# {len(data):,} bytes of flash; ops to register: {', '.join(contents.ops)}",
        f"# tensor arena: more than {least_arena(data):,} bytes; after AllocateTensors() "
        "arena_used_bytes() tells",
    ]
