"""Images held as one array in a NumPy `.npz` file."""

import functools
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from kgraft.data.decode import Attempt
from kgraft.data.source import Source
from kgraft.errors import KgraftError, one_line

# A larger number is no class but a mistake; one near 2**63 would turn negative.
_MOST_CLASSES = 1_000_000


class NpzSource(Source):
    """The arrays `images`, and optionally `labels` and `class_names`, of an npz file.

    A file may hold several splits instead: `train_images`, `train_labels`, `test_images`, ... Where
    it has both, `images` stand for the splits that have no array of their own. An array is read
    when it is first asked for.
    """

    def __init__(self, path: str, *, split: str = "train", name: str | None = None) -> None:
        """Opens a file.

        Args:
            path: the file.
            split: which split of a file that has several; other files have only one.
            name: what to call the source in messages; the path by default.

        Raises:
            KgraftError: there is no such file; it is not an npz file of plain arrays; there are no
                images, or none of this split; an array has the wrong shape, type or range.
        """
        self.name = name or f"npz:{path}"
        self._path = pathlib.Path(os.path.expanduser(path))
        keys = self._keys()
        self._image_key = self._find_images(keys, split)
        self._has_others = "images" in keys and self._image_key != "images"
        label_key = self._image_key.removesuffix("images") + "labels"
        self._images = _as_pixels(self._array(self._image_key), self._where(self._image_key))
        self._labels = self._checked_labels(label_key) if label_key in keys else None
        self.class_names = self._checked_names() if "class_names" in keys else None
        height, width, channels = self._images.shape[1:]
        self.image_shape = (height, width, channels)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def ids_span_splits(self) -> bool:
        """Whether these are the images that a split without an array of its own is read from."""
        return self._image_key == "images"

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """The index of each image, as text; behind the array's name where `images` are others."""
        before = f"{self._image_key}:" if self._has_others else ""
        return tuple(f"{before}{index}" for index in range(len(self)))

    @property
    def labels(self) -> np.ndarray | None:
        """Class of each image, int64 `[images]`; None for a file without labels."""
        return self._labels

    @property
    def has_labels(self) -> bool:
        """Whether the file has labels; it may name classes and have none."""
        return self._labels is not None

    def attempts(self, positions: Sequence[int] | None = None) -> Iterator[Attempt]:
        """Yields each image with its label; an array has no corrupt images."""
        for position in range(len(self)) if positions is None else positions:
            label = None if self._labels is None else int(self._labels[position])
            yield self._images[position], label

    def _where(self, key: str) -> str:
        return f"{self.name}: array {key!r}"

    def _keys(self) -> list[str]:
        if not self._path.is_file():
            raise KgraftError(f"{self.name}: there is no file {self._path}")
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                return list(arrays.files)
        except Exception as error:  # A damaged archive raises most kinds of error.
            raise KgraftError(f"{self.name} is not an npz file as numpy.savez writes it") from error

    def _array(self, key: str) -> np.ndarray:
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                return arrays[key]
        except Exception as error:  # Likewise.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise KgraftError(f"{self._where(key)} cannot be read: {reason}") from error

    def _find_images(self, keys: list[str], split: str) -> str:
        for key in (f"{split}_images", "images"):
            if key in keys:
                return key
        splits = [one_line(key.removesuffix("_images")) for key in keys if key.endswith("_images")]
        if splits:
            raise KgraftError(
                f"{self.name} has no split {split!r}: its splits are {', '.join(splits)}"
            )
        found = one_line(", ".join(keys)) or "nothing"
        raise KgraftError(
            f"{self.name} must hold an array 'images' [n, height, width, channels] (or "
            f"'train_images', 'test_images'); it holds {found}"
        )

    def _checked_labels(self, key: str) -> np.ndarray:
        labels = self._array(key)
        if labels.shape != (len(self._images),) or not np.issubdtype(labels.dtype, np.integer):
            raise KgraftError(
                f"{self._where(key)} must be integers [{len(self._images)}], one an image; "
                f"got {labels.dtype} {list(labels.shape)}"
            )
        if labels.min(initial=0) < 0:
            raise KgraftError(f"{self._where(key)} must not be below 0; got {labels.min()}")
        if labels.max(initial=0) >= _MOST_CLASSES:
            raise KgraftError(
                f"{self._where(key)} must be below {_MOST_CLASSES}; got {labels.max()}"
            )
        return labels.astype(np.int64)

    def _checked_names(self) -> tuple[str, ...]:
        names = self._array("class_names")
        needed = 0 if self._labels is None else int(self._labels.max(initial=-1)) + 1
        if names.ndim != 1 or names.dtype.kind not in "US" or len(names) < needed:
            raise KgraftError(
                f"{self._where('class_names')} must be text [{needed} or more], one name a class; "
                f"got {names.dtype} {list(names.shape)}"
            )
        return tuple(self._as_text(name) for name in names.tolist())

    def _as_text(self, name: str | bytes) -> str:
        """Returns a class name, which goes into files that are UTF-8."""
        try:
            return (name if isinstance(name, bytes) else name.encode()).decode()
        except UnicodeError:
            raise KgraftError(f"{self._where('class_names')} must be UTF-8; got {name!r}") from None


def _as_pixels(images: np.ndarray, where: str) -> np.ndarray:
    """Returns images as uint8 `[n, height, width, channels]`."""
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise KgraftError(
            f"{where} must be [n, height, width] or [n, height, width, channels], none of them 0; "
            f"got {list(images.shape)}"
        )
    if images.dtype != np.uint8:
        images = _rounded(images, where)
    return images[..., np.newaxis] if images.ndim == 3 else images


def _rounded(images: np.ndarray, where: str) -> np.ndarray:
    if not np.issubdtype(images.dtype, np.floating):
        raise KgraftError(f"{where} must be uint8 or floats 0..255; got {images.dtype}")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 255):
        raise KgraftError(f"{where} must be pixels 0..255; got floats {low:g}..{high:g}")
    if high <= 1:
        raise KgraftError(
            f"{where} must be pixels 0..255; got floats {low:g}..{high:g}: multiply them by 255"
        )
    return np.rint(images).astype(np.uint8)
