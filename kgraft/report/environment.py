"""What the report says about the machine and the software of the run."""

import importlib.metadata
import platform
import resource
import sys
from collections.abc import Sequence

# What weights, files or the order of a search's trials depend on.
PACKAGES = (
    "kgraft",
    "tensorflow",
    "keras",
    "tensorflow-datasets",
    "tensorflow-model-optimization",
    "tf-keras",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "keras-tuner",
    "scikit-learn",
    "scipy",
    "numpy",
    "pillow",
)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Looks up the installed versions.

    Args:
        packages: names of distributions.

    Returns:
        `python` and each package that is installed, to its version.
    """
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float:
    """Returns the largest resident memory this process has had so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
