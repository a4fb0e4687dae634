"""What every source of images looks like from outside."""

import abc
import functools
from collections.abc import Iterator, Sequence

import numpy as np

from kgraft.errors import KgraftError


class CorruptImage(KgraftError):  # noqa: N818 (handed on as a value, raised by some callers only)
    """An image of a source that cannot be decoded; its message names the image and the reason."""


class Source(abc.ABC):
    """A fixed, ordered set of images, with labels where the data has them.

    Positions count from 0 in an order that is the same every time the source is opened.

    Attributes:
        name: the spec the source was opened with.
        class_names: names in the order of the labels; None where the data has none.
        image_shape: `(height, width, channels)` where all images are alike; None where they differ.
    """

    name: str
    class_names: tuple[str, ...] | None
    image_shape: tuple[int, int, int] | None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of images."""

    @property
    @abc.abstractmethod
    def ids(self) -> tuple[str, ...]:
        """What identifies each image: the `tfds_id`, the relative path, or the index."""

    @property
    def ids_span_splits(self) -> bool:
        """Whether an image has the same id whatever split it is found by."""
        return False

    @property
    @abc.abstractmethod
    def labels(self) -> np.ndarray | None:
        """Class of each image, int64 `[images]`, or None for data without classes."""

    @abc.abstractmethod
    def attempts(
        self, positions: Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray | CorruptImage, int | None]]:
        """Yields each image, or the reason it cannot be decoded, with its label.

        Args:
            positions: which images, in the order wanted; None for all. Rising positions are read
                as a stream; others may hold the undecoded images in memory.

        Yields:
            `(image, label)`: uint8 `[height, width, channels]` or a `CorruptImage`; the label or
            None.
        """

    def read(self, position: int) -> np.ndarray:
        """Returns one image.

        Args:
            position: which one, from 0.

        Returns:
            uint8 `[height, width, channels]`.

        Raises:
            CorruptImage: the image cannot be decoded.
        """
        return next(self.iterate([position]))[0]

    def iterate(
        self, positions: Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, int | None]]:
        """Yields images with their labels; the quick way through a whole set.

        Args:
            positions: which images, in the order wanted; None for all.

        Yields:
            `(image, label)`: uint8 `[height, width, channels]`; the label or None.

        Raises:
            CorruptImage: an image cannot be decoded.
        """
        for image, label in self.attempts(positions):
            if isinstance(image, CorruptImage):
                raise image
            yield image, label

    @functools.cached_property
    def class_count(self) -> int | None:
        """Number of classes, empty ones included; None for data without classes."""
        if self.class_names is not None:
            return len(self.class_names)
        return None if self.labels is None else int(self.labels.max(initial=-1)) + 1

    @property
    def has_labels(self) -> bool:
        """Whether there are labels; tells without reading them where the description says so."""
        return self.class_names is not None or self.labels is not None

    def class_name(self, label: int) -> str:
        """Returns the name of a class, or its number where the data has no names."""
        return self.class_names[label] if self.class_names is not None else str(label)
