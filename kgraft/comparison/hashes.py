"""Hashes by which a resumed comparison knows that its teacher and its images are still the same."""

import hashlib
from collections.abc import Iterable

import numpy as np

from kgraft.data import CorruptImage, Source
from kgraft.graph import Graph

# Decoding all of a large test set would take minutes at every start.
_TEST_IMAGES = 100


def weights_sha256(graph: Graph) -> str:
    """Hashes the weights of a graph's layers."""
    digest = hashlib.sha256()
    for layer in graph.layers:
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def pixels_sha256(images: Iterable[np.ndarray]) -> str:
    """Hashes images, each with its shape."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((image.shape, image.dtype.str)).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def labelled_sha256(source: Source) -> str:
    """Hashes the ids and labels of a labelled source and some of its images, evenly spread."""
    rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), _TEST_IMAGES)).astype(int))
    found = (image for image, _ in source.attempts(rows.tolist()))
    digest = hashlib.sha256("\n".join(source.ids).encode())
    digest.update(np.asarray(source.labels, "int64").tobytes())
    digest.update(pixels_sha256(i for i in found if not isinstance(i, CorruptImage)).encode())
    return digest.hexdigest()
