import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kgraft.data import open_source
from kgraft.errors import KgraftError
from kgraft.teach import images as images_module
from kgraft.teach.images import TrainingImages, check_labels, hold_images


def training(source, **changes):
    if "held" not in changes:
        changes["held"] = hold_images(source, shape=(8, 8, 1), resize="none", memory_mb=1)
    settings = {
        "source": source,
        "labels": source.labels,
        "shape": (8, 8, 1),
        "resize": "none",
        "augment": "none",
        "crop_padding": 1,
        "batch": 16,
        "seed": 0,
    }
    return TrainingImages(**settings | changes)


def epoch(training_images, number):
    pixels, labels = zip(*training_images.epoch(number), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


@pytest.fixture
def source(easy_set):
    return open_source(f"npz:{easy_set}", channels=1)


def test_an_epoch_sees_each_image_once_with_its_label(source):
    pixels, labels = epoch(training(source, batch=10), 0)
    assert pixels.shape == (70, 8, 8, 1)
    seen = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    assert seen == {image.tobytes(): label for image, label in source.iterate()}


def test_last_uneven_batch_is_left_out(source):
    found = training(source)
    assert found.steps == 4
    assert len(epoch(found, 0)[1]) == 64


@pytest.mark.parametrize("augment", ["none", "crop_flip", "imagenet"])
def test_epochs_differ_and_repeat(source, augment):
    held = None if augment == "imagenet" else training(source).held
    first, again, other = (
        epoch(training(source, augment=augment, held=held), number)[0] for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_seed_changes_order_and_augmentation(source):
    first, other = (epoch(training(source, seed=seed), 0)[0] for seed in (0, 1))
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_held_and_streamed_images_are_the_same(source, augment):
    held = training(source, augment=augment)
    streamed = dataclasses.replace(held, held=None)
    for a, b in zip(epoch(held, 3), epoch(streamed, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_streamed_tfds_order_keeps_neighbours_and_sees_all(source, monkeypatch):
    monkeypatch.setattr(images_module, "CHUNK", 5)
    monkeypatch.setattr(images_module, "POOL", 20)
    source.name = "tfds:easy"
    streamed = training(source, held=None, batch=10)
    order = streamed._order(0)
    assert sorted(order) == list(range(70))
    for start in range(0, 70, 20):
        chunks = {position // 5 for position in order[start : start + 20]}
        assert len(chunks) <= 4
    assert len({image.tobytes() for image in epoch(streamed, 0)[0]}) == 70


def test_too_large_a_set_is_not_held(source):
    assert hold_images(source, shape=(8, 8, 1), resize="none", memory_mb=0) is None


def write_folder(path, count=6):
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((20 + number, 24, 3), 10 * number, np.uint8)
            (path / name / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return path


def test_folders_of_differing_sizes_are_fitted(tmp_path):
    source = open_source(f"folder:{write_folder(tmp_path / 'set')}")
    found = training(
        source, labels=source.labels, held=None, shape=(8, 8, 3), resize="crop", batch=4
    )
    pixels, labels = epoch(found, 0)
    assert pixels.shape == (12, 8, 8, 3)
    assert sorted(labels) == [0] * 6 + [1] * 6


def test_corrupt_image_stops_with_its_own_message(tmp_path):
    folder = write_folder(tmp_path / "set")
    (folder / "a" / "3.png").write_bytes(b"broken")
    source = open_source(f"folder:{folder}")
    found = training(
        source, labels=source.labels, held=None, shape=(8, 8, 3), resize="crop", batch=4
    )
    with pytest.raises(KgraftError, match=r"3\.png") as caught:
        epoch(found, 0)
    assert "Traceback" not in str(caught.value)


def test_labels_are_needed(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8, 1), np.uint8))
    with pytest.raises(KgraftError, match="has no labels, which training a teacher needs"):
        check_labels(open_source(f"npz:{tmp_path / 'a.npz'}", channels=1), classes=2)


def test_labels_must_be_logits(source):
    with pytest.raises(KgraftError, match=r"has labels 0\.\.1, but the model has 1 logits"):
        check_labels(source, classes=1)
