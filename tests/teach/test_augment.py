import numpy as np
import tensorflow as tf

from kgraft.teach.augment import crop_flip, resized_crop_flip


def crops_by_hand(image, padding):
    """All crops of one padded image, and their mirror images."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width = image.shape[:2]
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[top : top + height, left : left + width]
            yield crop.tobytes()
            yield crop[:, ::-1].tobytes()


def test_every_image_is_a_crop_of_its_own():
    images = np.random.default_rng(0).integers(1, 256, (200, 5, 6, 3)).astype(np.uint8)
    found = crop_flip(tf.constant(images), padding=2, seed=tf.constant([1, 2])).numpy()
    seen = set()
    for image, result in zip(images, found, strict=True):
        possible = list(crops_by_hand(image, 2))
        seen.add(possible.index(result.tobytes()))
    # 200 draws out of 50 possible crops leave out very few.
    assert len(seen) > 42


def test_no_padding_only_flips():
    images = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1)).astype(np.uint8)
    found = crop_flip(tf.constant(images), padding=0, seed=tf.constant([1, 2])).numpy()
    flipped = (found == images[:, :, ::-1]).all((1, 2, 3))
    assert ((found == images).all((1, 2, 3)) | flipped).all()
    assert 16 < flipped.sum() < 48


def test_crop_flip_depends_on_its_seed_alone():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 9, 9, 1)).astype(np.uint8))
    first, again, other = (
        crop_flip(images, padding=3, seed=tf.constant(seed)).numpy()
        for seed in ([3, 4], [3, 4], [3, 5])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_resized_crop_has_the_size_and_stays_within_the_pixels():
    image = np.full((40, 60, 3), 200, np.uint8)
    found = resized_crop_flip(tf.constant(image), size=(16, 12), seed=tf.constant([1, 2])).numpy()
    assert found.shape == (16, 12, 3)
    np.testing.assert_array_equal(found, 200)


def test_resized_crop_depends_on_its_seed_alone():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (30, 30, 3)).astype(np.uint8))
    first, again, other = (
        resized_crop_flip(image, size=(16, 16), seed=tf.constant(seed)).numpy()
        for seed in ([3, 4], [3, 4], [3, 5])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_resized_crops_cover_small_and_large_areas():
    """A ramp in x: the range of its values tells the width of the crop."""
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (200, 1, 1))
    widths = []
    for number in range(60):
        crop = resized_crop_flip(tf.constant(ramp), size=(50, 50), seed=tf.constant([number, 0]))
        widths.append(int(np.ptp(crop.numpy())))
    assert min(widths) < 100 < 150 < max(widths)
