"""What lies beside the models in an export folder: labels, what to do to pixels, checksums."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgraft.data.preprocess import normalization
from kgraft.export.guards import Shape
from kgraft.export.names import INPUT_NAME, LABELS_NAME, OUTPUT_NAME, PREPROCESS_NAME, SUMS_NAME
from kgraft.export.records import DeviceInput
from kgraft.export.runner import open_interpreter

_RESIZES = {
    "none": "the image has this height and width",
    "crop": "an image of another size is scaled, bilinear and antialiased, until it covers height "
    "and width with a margin of 1/0.875; the centre is cut out",
}
_QUANTIZED = "integer = clip(round(value / scale) + zero_point)"


def write_preprocess(
    folder: Path, shape: Shape, takes: DeviceInput, *, labels: bool, files: Mapping[str, Path]
) -> None:
    """Writes what turns an image into a file's input, and its output into a class.

    Args:
        folder: where `preprocess.json` goes.
        shape: `(height, width, channels)` of an image.
        takes: what is done to pixels, and where.
        labels: whether there is a file of labels.
        files: `.tflite` files by name; the quantised ones hold their own scale and zero point,
            which are told here too.
    """
    height, width, channels = shape
    quantized = {name: _quantization(path) for name, path in files.items()}
    steps = normalization(takes.before_file)
    content = {
        "input": {
            "name": INPUT_NAME,
            "batch": None if takes.dynamic_batch else 1,
            "height": height,
            "width": width,
            "channels": channels,
            "pixels": _order(channels, reversed_channels=steps.reversed_channels),
            "range": [0, 255],
            "resize": takes.resize,
            "how_to_resize": _RESIZES[takes.resize],
            "preprocess": takes.before_file,
            "value": "(pixel - mean) / std, channel by channel, float32",
            "mean": _per_channel(steps.mean, channels),
            "std": _per_channel(steps.std, channels),
        },
        "inside_the_file": takes.in_file,
        "output": {
            "name": OUTPUT_NAME,
            "meaning": "one logit a class; the largest is the class",
            "labels": LABELS_NAME if labels else None,
        },
        "quantized": {name: found for name, found in quantized.items() if found is not None},
        "how_to_quantize": _QUANTIZED,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    Path(folder, PREPROCESS_NAME).write_text(text, encoding="utf-8")


def write_sums(folder: Path) -> None:
    """Writes the SHA-256 of every file in a folder and below, as `sha256sum --check` reads them.

    Args:
        folder: the folder; an older list is replaced.
    """
    sums = Path(folder, SUMS_NAME)
    sums.unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    sums.write_text("".join(lines), encoding="utf-8")


def _order(channels: int, *, reversed_channels: bool) -> str:
    if channels == 1:
        return "grey"
    if channels != 3:
        return f"{channels} channels"
    return "BGR" if reversed_channels else "RGB"


def _per_channel(values: tuple[float, ...], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [values[0]] * channels


def _quantization(path: Path) -> dict[str, Any] | None:
    """Type, scale and zero point of both ends; None where they are floating-point."""
    interpreter = open_interpreter(path)
    ends = {
        INPUT_NAME: interpreter.get_input_details()[0],
        OUTPUT_NAME: interpreter.get_output_details()[0],
    }
    if not any(details["quantization"][0] for details in ends.values()):
        return None
    return {
        name: {
            "type": details["dtype"].__name__,
            "scale": float(details["quantization"][0]),
            "zero_point": int(details["quantization"][1]),
        }
        for name, details in ends.items()
    }
