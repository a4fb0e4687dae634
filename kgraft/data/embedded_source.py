"""Data sets that travel inside the package."""

import pathlib

from kgraft.data.npz_source import NpzSource
from kgraft.errors import KgraftError

EMBEDDED_FOLDER = pathlib.Path(__file__).parent / "embedded"


def open_embedded(name: str, *, split: str = "train") -> NpzSource:
    """Opens a data set of the package.

    Args:
        name: `fashion_mnist`: 50 images a class of its training part as split `train`, its 10,000
            test images as split `test`.
        split: `train` or `test`.

    Returns:
        The source.

    Raises:
        KgraftError: there is no data set of this name, or no such split.
    """
    path = EMBEDDED_FOLDER / f"{name}.npz"
    known = sorted(file.stem for file in EMBEDDED_FOLDER.glob("*.npz"))
    if name not in known:
        raise KgraftError(f"embedded:{name} does not exist; embedded data: {', '.join(known)}")
    return NpzSource(str(path), split=split, name=f"embedded:{name}")
