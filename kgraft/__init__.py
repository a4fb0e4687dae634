"""Few-shot knowledge distillation by progressive network grafting, on TensorFlow and Keras.

The public names are loaded when they are first used, so that `import kgraft` alone costs nothing
and only `kgraft.distill` loads TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kgraft.api import distill
    from kgraft.comparison import CompareConfig, compare
    from kgraft.config import (
        CompressConfig,
        DataConfig,
        ExportConfig,
        RunConfig,
        StudentConfig,
        TeacherConfig,
        TrainConfig,
    )
    from kgraft.errors import KgraftError
    from kgraft.tuning import TuneConfig, tune

__version__ = "0.1.0"

__all__ = [
    "CompareConfig",
    "CompressConfig",
    "DataConfig",
    "ExportConfig",
    "KgraftError",
    "RunConfig",
    "StudentConfig",
    "TeacherConfig",
    "TrainConfig",
    "TuneConfig",
    "__version__",
    "compare",
    "distill",
    "tune",
]

_MODULES = {
    "compare": "kgraft.comparison",
    "CompareConfig": "kgraft.comparison",
    "distill": "kgraft.api",
    "RunConfig": "kgraft.config",
    "TeacherConfig": "kgraft.config",
    "StudentConfig": "kgraft.config",
    "DataConfig": "kgraft.config",
    "TrainConfig": "kgraft.config",
    "CompressConfig": "kgraft.config",
    "ExportConfig": "kgraft.config",
    "KgraftError": "kgraft.errors",
    "tune": "kgraft.tuning",
    "TuneConfig": "kgraft.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kgraft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_MODULES))
