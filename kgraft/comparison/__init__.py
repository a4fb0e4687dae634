"""Rival methods and ours on the same teacher, images and budget: the table of `kgraft-compare`."""

from typing import TYPE_CHECKING

from kgraft.comparison.config import METHODS, CompareConfig

if TYPE_CHECKING:
    from kgraft.comparison.run import Comparison, compare

__all__ = ["METHODS", "CompareConfig", "Comparison", "compare"]


def __getattr__(name: str) -> object:
    # The config must be importable without TensorFlow: the rest is loaded when it is asked for.
    if name in ("Comparison", "compare"):
        from kgraft.comparison import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
