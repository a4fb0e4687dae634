"""ai-edge-quantizer, an optional extra: a float32 file quantised by its recipes."""

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from kgraft.errors import KgraftError, one_line
from kgraft.export.convert import CALIBRATION_IMAGES, spread
from kgraft.export.flatbuffer import Op, read_ops
from kgraft.export.names import INPUT_NAME, SIGNATURE
from kgraft.export.quiet import quiet_stderr

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def edge_quantized(float32: bytes, name: str, calibration: np.ndarray | None) -> bytes:
    """Quantises a float32 `.tflite` file.

    Args:
        float32: the file.
        name: one of `RECIPES`.
        calibration: `[n, height, width, channels]`, as the file takes them; for `aeq_int8`.

    Returns:
        The quantised file.

    Raises:
        KgraftError: ai-edge-quantizer is not installed, or refuses the file.
    """
    check_edge_quantizer(name)
    from ai_edge_quantizer import quantizer

    with quiet_stderr(), contextlib.redirect_stdout(io.StringIO()):
        try:
            tool = quantizer.Quantizer(float32, RECIPES[name](float32))
            ranges = None
            if tool.need_calibration:
                ranges = _ranges(tool, calibration)
            made = tool.quantize(ranges, enable_progress_report=False)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            reason = one_line(error)
            raise KgraftError(f"ai-edge-quantizer does not make {name}: {reason}") from error
    return bytes(made.quantized_model)


def _ranges(tool: Any, images: np.ndarray | None) -> dict[str, Any]:
    """The extremes of every tensor over the images; the tool itself takes a running mean of them.

    That forgets the images that say the most, and cuts their logits off.
    """
    chosen = [] if images is None else spread(images, CALIBRATION_IMAGES)
    found: dict[str, Any] = {}
    for image in chosen:
        data = {SIGNATURE: [{INPUT_NAME: np.asarray(image[None], np.float32)}]}
        for name, values in tool.calibrate(data, num_threads=1).items():
            if name not in found:
                found[name] = dict(values)
                continue
            for key, choose in (("min", np.minimum), ("max", np.maximum)):
                if key in values:
                    found[name][key] = choose(found[name][key], values[key])
    return found


def check_edge_quantizer(name: str) -> None:
    """Checks that ai-edge-quantizer is there.

    Args:
        name: the format that needs it.

    Raises:
        KgraftError: it is not.
    """
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise KgraftError(
            f"--formats={name} needs ai-edge-quantizer, which is not installed: "
            "in a checkout of kgraft pip install '.[edge]', or leave it out"
        ) from error


def _int8(_: bytes) -> Any:
    from ai_edge_quantizer import recipe

    return recipe.static_wi8_ai8()


def _int4(_: bytes) -> Any:
    return _four_bits().get_quantization_recipe()


def _mixed(float32: bytes) -> Any:
    """int4 weights, but int8 in the first and the last layer, which bear it worst."""
    from ai_edge_quantizer.qtyping import TFLOperationName

    manager = _four_bits()
    ops: list[Op] = [op for op in read_ops(float32)[0] if op.op in _WEIGHTED]
    for op in {op.name: op for op in (ops[:1] + ops[-1:])}.values():
        every = TFLOperationName.ALL_SUPPORTED
        manager.add_dynamic_config(regex=re.escape(op.name), operation_name=every, num_bits=8)
    return manager.get_quantization_recipe()


def _four_bits() -> Any:
    """int4 weights where LiteRT has kernels for them, and int8 where it does not."""
    from ai_edge_quantizer import recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName as Name

    manager = recipe_manager.RecipeManager()
    manager.add_dynamic_config(regex=".*", operation_name=Name.ALL_SUPPORTED, num_bits=4)
    for kind in (Name.DEPTHWISE_CONV_2D, Name.CONV_2D_TRANSPOSE):
        manager.add_dynamic_config(regex=".*", operation_name=kind, num_bits=8)
    return manager


RECIPES: dict[str, Callable[[bytes], Any]] = {
    "aeq_int8": _int8,
    "aeq_int4": _int4,
    "aeq_mixed": _mixed,
}
