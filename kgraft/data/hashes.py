"""Hashes by which work that goes on knows that its images and their names are still the same."""

import hashlib
from collections.abc import Iterable

import numpy as np

from kgraft.data.source import CorruptImage, Source

# Decoding all of a large data set would take minutes at every start.
_SOME_IMAGES = 100


def pixels_sha256(images: Iterable[np.ndarray]) -> str:
    """Hashes images, each with its shape."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((image.shape, image.dtype.str)).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def labelled_sha256(source: Source) -> str:
    """Hashes the ids and labels of a labelled source and some of its images, evenly spread."""
    return _some_sha256(source, np.asarray(source.labels, "int64").tobytes())


def images_sha256(source: Source) -> str:
    """Hashes the ids of a source and some of its images, evenly spread; reads no labels."""
    return _some_sha256(source, b"")


def _some_sha256(source: Source, labels: bytes) -> str:
    rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), _SOME_IMAGES)).astype(int))
    found = (image for image, _ in source.attempts(rows.tolist()))
    digest = hashlib.sha256("\n".join(source.ids).encode())
    digest.update(labels)
    digest.update(pixels_sha256(i for i in found if not isinstance(i, CorruptImage)).encode())
    return digest.hexdigest()


def names_sha256(names: Iterable[str] | None) -> str:
    """Hashes names of classes in their order; None, where nothing names them, has a hash too."""
    told = "" if names is None else "\n".join(names)
    return hashlib.sha256(told.encode()).hexdigest()


def labels_sha256(source: Source) -> str:
    """Hashes the labels of a labelled source and the names of their classes."""
    digest = hashlib.sha256(np.asarray(source.labels, "int64").tobytes())
    digest.update(names_sha256(source.class_names).encode())
    return digest.hexdigest()
