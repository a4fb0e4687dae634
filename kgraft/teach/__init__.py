"""Training a teacher from a labelled data source."""

from typing import TYPE_CHECKING, Any

from kgraft.teach.config import TeachConfig

if TYPE_CHECKING:
    from kgraft.teach.teacher import TeachResult, teach

__all__ = ["TeachConfig", "TeachResult", "teach"]


def __getattr__(name: str) -> Any:
    # The config must be importable without TensorFlow: the rest is loaded when it is asked for.
    if name in ("TeachResult", "teach"):
        from kgraft.teach import teacher

        return getattr(teacher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
