import numpy as np
import pytest

from kgraft.data import check_fits, fit_image, open_source, resolve_resize
from kgraft.data.resize import scale_image
from kgraft.errors import KgraftError

from .conftest import picture


def test_right_size_is_taken_as_it_is():
    image = picture(0, 8, 6)
    for resize in ("none", "crop"):
        np.testing.assert_array_equal(fit_image(image, size=(8, 6, 3), resize=resize), image)


def test_crop_takes_the_centre_of_short_side_256_for_224():
    ramp = np.broadcast_to(np.linspace(0, 255, 512)[None, :, None], (256, 512, 3))
    image = np.rint(ramp).astype(np.uint8)
    fitted = fit_image(image, size=(224, 224, 3), resize="crop")
    np.testing.assert_array_equal(fitted, image[16:240, 144:368])


@pytest.mark.parametrize("shape", [(500, 333), (224, 300), (224, 225), (20, 19), (7, 900)])
def test_crop_fits_any_shape(shape):
    for size in ((224, 224, 3), (32, 48, 3)):
        assert fit_image(picture(0, *shape), size=size, resize="crop").shape == size


def test_scaling_keeps_flat_images_flat_and_does_not_wrap():
    for value in (0, 255):
        flat = np.full((50, 40, 1), value, np.uint8)
        scaled = scale_image(flat, height=13, width=77)
        assert scaled.shape == (13, 77, 1)
        assert (scaled == value).all()


def test_wrong_size_names_both_shapes_and_the_remedy():
    message = r"^photo is 8 x 6 x 3, but the teacher takes 32 x 32 x 3 .*--resize=crop"
    with pytest.raises(KgraftError, match=message):
        fit_image(picture(0, 8, 6), size=(32, 32, 3), resize="none", name="photo")


@pytest.mark.parametrize("resize", ["none", "crop"])
def test_wrong_channels_name_both_shapes(resize):
    with pytest.raises(KgraftError, match=r"8 x 6 x 1, .* takes 8 x 6 x 3 .* same channels"):
        check_fits((8, 6, 1), size=(8, 6, 3), resize=resize, name="image")


def test_auto_crops_where_sizes_differ(class_folder, tfds_folder):
    folder = open_source(f"folder:{class_folder}")
    fixed = open_source("tfds:tiny_pets", data_dir=str(tfds_folder))
    assert resolve_resize(folder, "auto") == "crop"
    assert resolve_resize(fixed, "auto") == "none"
    assert resolve_resize(folder, "none") == "none"
    assert resolve_resize(fixed, "crop") == "crop"
