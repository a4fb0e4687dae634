import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgraft.data import fit_image, make_views
from kgraft.data.views import random_crop
from kgraft.errors import KgraftError

from .conftest import picture

SIZE = (16, 16, 3)
IMAGES = [picture(seed, 16, 16) for seed in range(3)]


def views(images=IMAGES, *, augment="crop_flip", count=4, size=SIZE, seed=0, **options):
    return make_views(images, augment=augment, views=count, size=size, seed=seed, **options)


@pytest.mark.parametrize("augment", ["crop_flip", "imagenet"])
def test_shape_and_type(augment):
    made = views(augment=augment)
    assert made.shape == (12, 16, 16, 3)
    assert made.dtype == np.uint8


def test_none_is_the_image_once():
    np.testing.assert_array_equal(views(augment="none"), IMAGES)
    wide = [picture(0, 40, 60)]
    made = views(wide, augment="none", resize="crop")
    np.testing.assert_array_equal(made[0], fit_image(wide[0], size=SIZE, resize="crop"))


@pytest.mark.parametrize("augment", ["crop_flip", "imagenet"])
def test_a_view_depends_on_seed_image_and_number_alone(augment):
    made = views(augment=augment)
    np.testing.assert_array_equal(made, views(augment=augment))
    assert not np.array_equal(made, views(augment=augment, seed=1))
    # Fewer images, fewer views, or going on later: the same views.
    np.testing.assert_array_equal(made[:4], views(IMAGES[:1], augment=augment))
    np.testing.assert_array_equal(made[4:6], views(augment=augment, count=2)[2:4])
    np.testing.assert_array_equal(made[2:4], views(augment=augment, count=2, first_view=2)[:2])


@pytest.mark.parametrize("augment", ["crop_flip", "imagenet"])
def test_views_differ_from_each_other(augment):
    made = views([IMAGES[0], IMAGES[0]], augment=augment, count=8)
    assert len({view.tobytes() for view in made}) > 10


def test_crop_flip_is_a_shift_of_the_padded_image_or_of_its_mirror():
    image = IMAGES[0]
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    shifts = {padded[y : y + 16, x : x + 16].tobytes() for y in range(9) for x in range(9)}
    mirrored = 0
    for view in views([image], count=64):
        mirrored += view.tobytes() not in shifts
        assert view.tobytes() in shifts or view[:, ::-1].tobytes() in shifts
    assert 16 < mirrored < 48


def test_imagenet_crops_the_image_in_its_own_size():
    # Left half black, right half white: the share of white tells which part a view shows.
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 255
    made = views([image], augment="imagenet", count=64, resize="crop")
    white = (made > 127).mean(axis=(1, 2, 3))
    assert (white < 0.05).any()
    assert (white > 0.95).any()
    assert ((white > 0.3) & (white < 0.7)).any()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 10**6))
def test_random_crop_lies_inside(height, width, seed):
    top, left, crop_height, crop_width = random_crop(height, width, np.random.default_rng(seed))
    assert 0 <= top < top + crop_height <= height
    assert 0 <= left < left + crop_width <= width


def test_random_crop_keeps_area_and_ratio():
    generator = np.random.default_rng(0)
    crops = np.array([random_crop(300, 400, generator)[2:] for _ in range(500)])
    area, ratio = crops.prod(1) / 120_000, crops[:, 1] / crops[:, 0]
    assert 0.075 < area.min() < 0.15
    assert 0.85 < area.max() <= 1
    assert ratio.min() > 0.74
    assert ratio.max() < 1.35


def test_grey_images():
    made = views([picture(0, 16, 16, 1)], size=(16, 16, 1), augment="imagenet")
    assert made.shape == (4, 16, 16, 1)


def test_wrong_size_is_refused_for_every_augmentation():
    for augment in ("none", "crop_flip", "imagenet"):
        message = r"transfer image 1 is 9 x 16 x 3, but the teacher takes 16 x 16 x 3 .*=crop"
        with pytest.raises(KgraftError, match=message):
            views([IMAGES[0], picture(0, 9, 16)], augment=augment, resize="none")


def test_unknown_augmentation():
    with pytest.raises(KgraftError, match="--augment must be one of none, crop_flip, imagenet"):
        views(augment="mixup")
