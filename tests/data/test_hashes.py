import numpy as np

from kgraft.data import open_source
from kgraft.data.hashes import (
    images_sha256,
    labelled_sha256,
    names_sha256,
    pixels_sha256,
)


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


def test_labels_of_images_hashed_without_them_are_of_no_account(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, [5, 4, 4, 3]).astype("uint8")

    def sha256(images, **labels):
        np.savez(tmp_path / "a.npz", images=images, **labels)
        return images_sha256(open_source(f"npz:{tmp_path / 'a.npz'}"))

    assert sha256(images) == sha256(images, labels=np.arange(5)) != sha256(images[::-1])


def test_names_count_in_their_order():
    assert names_sha256(["a", "b"]) == names_sha256(("a", "b")) != names_sha256(["b", "a"])
    assert names_sha256(None) != names_sha256(["a"])
