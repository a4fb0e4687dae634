"""Labelled batches for the report."""

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kgraft.data.resize import Size, fit_image
from kgraft.data.source import CorruptImage, Source
from kgraft.errors import KgraftError

Batch = tuple[np.ndarray, np.ndarray]


def eval_batches(
    source: Source,
    *,
    size: Size,
    resize: str = "none",
    batch: int = 256,
    label_names: Sequence[str] | None = None,
    on_corrupt: Callable[[CorruptImage], None] | None = None,
) -> Iterator[Batch]:
    """Runs once through a test set.

    Args:
        source: labelled images.
        size: `(height, width, channels)` the model takes.
        resize: how an image is fitted to it: `none` or `crop`.
        batch: images per batch; the last one may hold fewer.
        label_names: names of the logits. Where the source names its classes too, each goes to the
            logit of its name, so that a few of the classes will do; else labels are logit numbers.
        on_corrupt: called with each image that cannot be decoded, which is then left out; None
            raises instead.

    Returns:
        Iterator of `(images, labels)`: uint8 `[batch, height, width, channels]`, int64 `[batch]`.

    Raises:
        KgraftError: the source has no labels; a class is not among `label_names`; while iterating:
            an image does not fit.
    """
    if not source.has_labels or source.class_count is None:
        raise _unlabelled(source)
    logits = _logit_of_label(source, label_names)
    return _batched(_fitted(source, size, resize, on_corrupt), logits, batch)


def _unlabelled(source: Source) -> KgraftError:
    return KgraftError(
        f"{source.name} has no labels to measure accuracy with: give a labelled test set (for a "
        f"folder: one sub-folder a class)"
    )


def _logit_of_label(source: Source, label_names: Sequence[str] | None) -> np.ndarray:
    if label_names is None or source.class_names is None:
        return np.arange(source.class_count or 0)
    if tuple(label_names) == tuple(source.class_names):
        return np.arange(len(label_names))
    index = {name: position for position, name in enumerate(label_names)}
    counts = collections.Counter(label_names)
    twice = [name for name in source.class_names if counts[name] > 1]
    if twice:
        raise KgraftError(
            f"{source.name}: class {twice[0]!r} is the name of several of the teacher's "
            f"{len(label_names)} logits: give labels that tell them apart"
        )
    unknown = [name for name in source.class_names if name not in index]
    if unknown:
        raise KgraftError(
            f"{source.name}: class {unknown[0]!r} is not among the {len(label_names)} labels of "
            f"the teacher ({', '.join(map(str, label_names[:3]))}, ...); "
            f"{len(unknown)} of its {len(source.class_names)} classes are not"
        )
    return np.array([index[name] for name in source.class_names])


def _fitted(
    source: Source, size: Size, resize: str, on_corrupt: Callable[[CorruptImage], None] | None
) -> Iterator[tuple[np.ndarray, int]]:
    for number, (image, label) in enumerate(source.attempts()):
        if label is None:
            raise _unlabelled(source)
        if not isinstance(image, CorruptImage):
            name = f"{source.name}: image {number}"
            yield fit_image(image, size=size, resize=resize, name=name), label
        elif on_corrupt is None:
            raise image
        else:
            on_corrupt(image)


def _batched(
    examples: Iterator[tuple[np.ndarray, int]], logits: np.ndarray, batch: int
) -> Iterator[Batch]:
    while chunk := list(itertools.islice(examples, batch)):
        images, labels = zip(*chunk, strict=True)
        yield np.stack(images), logits[list(labels)].astype(np.int64)
