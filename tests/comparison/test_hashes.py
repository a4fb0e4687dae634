import numpy as np
from small_models import small_model

from kgraft.comparison.hashes import labelled_sha256, pixels_sha256, weights_sha256
from kgraft.data import open_source
from kgraft.graph import trace_model


def test_weights():
    one, same, other = (trace_model(small_model("plain", seed=seed)) for seed in (0, 0, 1))
    assert weights_sha256(one) == weights_sha256(same) != weights_sha256(other)


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
