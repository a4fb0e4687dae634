"""What to type to run a file on a phone, and what to do with it on a microcontroller."""

import shlex
from pathlib import Path

from kgraft.errors import KgraftError
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
    for path in paths:
        log = f"{path.stem}.log"
        lines += [
            f"adb push {shlex.quote(str(path))} {_ON_PHONE}",
            f"adb shell {_ON_PHONE}/{NATIVE} --graph={_ON_PHONE}/{shlex.quote(path.name)} "
            f"--num_threads=1 --num_runs={runs} --use_xnnpack=true "
            f"--report_peak_memory_footprint=true > {shlex.quote(log)} 2>&1",
        ]
        logs.append(log)
    return [*lines, f"kgraft-benchmark --read={shlex.quote(','.join(logs))}"]


def microcontroller_notes(path: Path) -> list[str]:
    """Returns what to do with a file on a microcontroller, or why it does not go there.

    Args:
        path: a `.tflite` file.

    Raises:
        KgraftError: it is not one.
    """
    load_interpreter(path)
    data = path.read_bytes()
    contents = read_contents(data)
    if contents.float_tensors:
        return [f"{path.name}: has floating-point tensors; export int8"]
    if not contents.static or contents.custom_ops:
        raise KgraftError(f"{path} has open shapes or custom ops: export it anew")
    return [
        f"xxd -i {shlex.quote(str(path))} > {path.stem}.cc",
        f"# {len(data):,} bytes of flash; ops to register: {', '.join(contents.ops)}",
        f"# tensor arena: more than {least_arena(data):,} bytes; after AllocateTensors() "
        "arena_used_bytes() tells",
    ]
