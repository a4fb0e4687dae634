"""A search over graft schedules with Keras Tuner: what `kgraft-tune` does."""

from typing import TYPE_CHECKING

from kgraft.tuning.config import TuneConfig
from kgraft.tuning.domains import choice, real, whole

if TYPE_CHECKING:
    from kgraft.tuning.run import Search, tune

__all__ = ["Search", "TuneConfig", "choice", "real", "tune", "whole"]


def __getattr__(name: str) -> object:
    # The settings must be importable without TensorFlow: the rest is loaded when it is asked for.
    if name in ("Search", "tune"):
        from kgraft.tuning import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
