import types

import numpy as np

from kgraft.comparison.hashes import (
    labelled_sha256,
    names_sha256,
    pixels_sha256,
    transfer_sha256,
)
from kgraft.data import open_source


def test_pixels_and_shapes():
    images = np.arange(48, dtype="uint8").reshape(2, 2, 4, 3)
    assert pixels_sha256(images) == pixels_sha256([*images])
    assert pixels_sha256(images) != pixels_sha256(images[::-1])
    assert pixels_sha256(images) != pixels_sha256(images.reshape(2, 4, 2, 3))


def test_a_test_set_of_other_images_or_labels(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [150, 4, 4, 3]).astype("uint8")
    labels = np.arange(150) % 5

    def sha256(images, labels):
        np.savez(tmp_path / "a.npz", test_images=images, test_labels=labels)
        return labelled_sha256(open_source(f"npz:{tmp_path / 'a.npz'}", split="test"))

    found = sha256(images, labels)
    assert sha256(images, labels) == found
    assert sha256(images, labels[::-1].copy()) != found
    assert sha256(images[:149], labels[:149]) != found
    assert sha256(images[::-1], labels) != found


def test_extra_images_count_too():
    def transfer(images, extra=None):
        extra = extra and types.SimpleNamespace(images=extra)
        return types.SimpleNamespace(images=types.SimpleNamespace(images=images), extra=extra)

    one, two = (np.full((2, 2, 3), value, "uint8") for value in (1, 2))
    assert transfer_sha256(transfer((one,))) == pixels_sha256([one])
    found = {transfer_sha256(transfer((one,), extra)) for extra in (None, (one,), (two,))}
    assert len(found) == 3


def test_names_count_in_their_order():
    assert names_sha256(["a", "b"]) == names_sha256(("a", "b")) != names_sha256(["b", "a"])
    assert names_sha256(None) != names_sha256(["a"])
