"""Formats that need a package of an optional extra."""

from collections.abc import Sequence

from kgraft.config import EDGE_FORMATS, ONNX
from kgraft.export.edge_quantizer import check_edge_quantizer
from kgraft.export.onnx_file import check_onnx


def check_extras(formats: Sequence[str]) -> None:
    """Checks that what the formats need is installed.

    Args:
        formats: names, any of `kgraft.config.FORMATS`.

    Raises:
        KgraftError: a package is missing; the message names it and the extra it comes with.
    """
    for name in formats:
        if name in EDGE_FORMATS:
            check_edge_quantizer(name)
        if name == ONNX:
            check_onnx()
