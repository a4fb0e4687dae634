import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kgraft.data import CorruptImage, open_source
from kgraft.errors import KgraftError

from .conftest import picture, write_image


def test_sub_folders_are_classes_in_the_order_of_their_names(class_folder):
    source = open_source(f"folder:{class_folder}")
    assert source.class_names == ("ant", "bee", "cow")
    assert source.labels.tolist() == [0] * 4 + [1] * 3 + [2] * 5
    assert source.ids[:4] == ("ant/0.png", "ant/1.JPEG", "ant/2.jpg", "ant/3.PNG")
    assert source.image_shape is None
    assert len(source) == 12


def test_iterate_gives_pixels_and_labels_in_the_order_asked(class_folder):
    source = open_source(f"folder:{class_folder}")
    found = list(source.iterate([11, 0, 4]))
    assert [label for _, label in found] == [2, 0, 1]
    np.testing.assert_array_equal(found[1][0], picture(0))
    np.testing.assert_array_equal(source.read(4), picture(10))
    assert all(image.dtype == np.uint8 for image, _ in source.iterate())
    assert [image.shape[0] for image, _ in source.iterate()][:4] == [12, 13, 14, 15]


def test_flat_folder_has_no_classes(tmp_path):
    for index in (2, 0, 1):
        write_image(tmp_path / f"{index}.png", picture(index))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    source = open_source(f"folder:{tmp_path}")
    assert (source.labels, source.class_names, source.class_count) == (None, None, None)
    assert source.ids == ("0.png", "1.png", "2.png")
    assert [label for _, label in source.iterate()] == [None] * 3


def test_images_may_lie_one_folder_deeper(tmp_path):
    for name in ("n01", "n02"):
        write_image(tmp_path / name / "images" / "0.png", picture(0))
    source = open_source(f"folder:{tmp_path}")
    assert source.ids == ("n01/images/0.png", "n02/images/0.png")
    assert source.class_names == ("n01", "n02")


def test_grey_and_colour_files_become_what_is_asked(tmp_path):
    write_image(tmp_path / "colour.png", picture(0))
    write_image(tmp_path / "grey.jpg", picture(1, channels=1))
    write_image(tmp_path / "clear.png", picture(2, channels=4))
    for channels in (1, 3):
        images = list(open_source(f"folder:{tmp_path}", channels=channels).iterate())
        assert [image.shape for image, _ in images] == [(12, 16, channels)] * 3


# The smallest legal files: a 1x1 blue BMP, and a 1x1 white GIF.
BMP = bytes.fromhex(
    "424d3a0000000000000036000000280000000100000001000000010018000000000004000000"
    "130b0000130b00000000000000000000ff000000"
)
GIF = bytes.fromhex("47494638396101000100800000ffffff0000002c000000000100010000020244" + "01003b")


@pytest.mark.parametrize(("name", "data"), [("a.bmp", BMP), ("a.GIF", GIF)])
@pytest.mark.parametrize("channels", [1, 3])
def test_bmp_and_gif(tmp_path, name, data, channels):
    (tmp_path / name).write_bytes(data)
    source = open_source(f"folder:{tmp_path}", channels=channels)
    assert source.read(0).shape == (1, 1, channels)


def test_colours_of_a_table(tmp_path):
    """What a bitmap of 256 colours holds are numbers of colours."""
    numbers = np.array([[0, 1, 2], [2, 1, 0]], "uint8")
    colours = np.array([[255, 0, 0], [0, 255, 0], [30, 60, 90]], "uint8")
    image = PIL.Image.fromarray(numbers, mode="P")
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.bmp")
    source = open_source(f"folder:{tmp_path}")
    np.testing.assert_array_equal(source.read(0), colours[numbers])


@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.tif", "a.TIFF", "a.webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_files_without_loss(tmp_path, name, channels):
    pixels = picture(3, channels=channels)
    image = PIL.Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    image.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    source = open_source(f"folder:{tmp_path}", channels=channels)
    np.testing.assert_array_equal(source.read(0), pixels)


@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_more_than_eight_bits_are_corrupt(tmp_path, kind):
    PIL.Image.fromarray(np.arange(12, dtype=kind).reshape(3, 4)).save(tmp_path / "a.tif")
    with pytest.raises(CorruptImage, match=r"a\.tif: it has more than 8 bits a pixel and channel"):
        open_source(f"folder:{tmp_path}").read(0)


def test_images_of_kinds_that_are_not_read_are_not_passed_over(tmp_path):
    write_image(tmp_path / "a.png", picture(0))
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    found = list(open_source(f"folder:{tmp_path}").attempts())
    assert [isinstance(image, CorruptImage) for image, _ in found] == [False, True]
    assert "b.heic: Unknown image file format" in str(found[1][0])


@pytest.mark.parametrize("name", ["a.bmp", "a.tif", "a.webp"])
def test_files_cut_short_are_corrupt(tmp_path, name):
    PIL.Image.fromarray(picture(3)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptImage, match="cannot decode") as caught:
        open_source(f"folder:{tmp_path}").read(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "the file is empty"), (b"no image at all", "."), (GIF[:20], ".")]
)
def test_corrupt_file_is_named(tmp_path, data, reason):
    write_image(tmp_path / "a.png", picture(0))
    (tmp_path / "b.jpg").write_bytes(data)
    source = open_source(f"folder:{tmp_path}")
    with pytest.raises(CorruptImage, match=rf"cannot decode .*b\.jpg: .*{reason}") as caught:
        source.read(1)
    assert "\n" not in str(caught.value)
    assert [isinstance(image, CorruptImage) for image, _ in source.attempts()] == [False, True]
    with pytest.raises(CorruptImage):
        list(source.iterate())


def test_truncated_jpeg_is_corrupt(tmp_path):
    data = tf.io.encode_jpeg(picture(0, 64, 64)).numpy()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptImage, match=r"a\.jpg"):
        open_source(f"folder:{tmp_path}").read(0)


def test_file_that_went_away_is_corrupt(tmp_path):
    write_image(tmp_path / "a.png", picture(0))
    source = open_source(f"folder:{tmp_path}")
    (tmp_path / "a.png").unlink()
    with pytest.raises(CorruptImage, match=r"cannot read .*a\.png: No such file"):
        source.read(0)


def test_missing_folder(tmp_path):
    with pytest.raises(KgraftError, match=r"there is no folder .*absent"):
        open_source(f"folder:{tmp_path}/absent")


def test_folder_without_images(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(KgraftError, match=r"holds no images: expected \.jpg, \.jpeg"):
        open_source(f"folder:{tmp_path}")


def test_images_beside_classes(class_folder):
    write_image(class_folder / "stray.png", picture(0))
    with pytest.raises(KgraftError, match=r"both images \(stray\.png\) and folders .*\(ant\)"):
        open_source(f"folder:{class_folder}")


def write_one_each(root, *paths):
    for path in paths:
        write_image(root / path / "0.png", picture(0))


def test_classes_may_have_folders_of_their_own(tmp_path):
    write_one_each(tmp_path, "cat/persian", "cat/siamese", "dog/poodle", "dog/collie/young")
    source = open_source(f"folder:{tmp_path}")
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "paths",
    [
        ("train/cat", "train/dog", "test/cat", "test/dog"),
        ("first/cat", "first/dog", "second/cat", "second/emu"),
        ("train/cat", "train/dog", "other/emu"),
        ("set/cat", "set/dog"),
    ],
)
def test_folders_of_splits(tmp_path, paths):
    write_one_each(tmp_path, *paths)
    with pytest.raises(KgraftError, match=r"holds no images but folders of them: .* a split\?"):
        open_source(f"folder:{tmp_path}")


@pytest.mark.parametrize("name", ["cat/caf\udce9.png", "caf\udce9/0.png", "caf\udce9.png"])
def test_names_that_are_not_utf8(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(KgraftError, match=r"names must be UTF-8; got '.*caf\\udce9.*': rename it"):
        open_source(f"folder:{tmp_path}")


def test_files_have_no_other_channels(class_folder):
    message = r"grey or RGB, 1 or 3 channels, and the model takes 4: give its images as npz:FILE or"
    with pytest.raises(KgraftError, match=message):
        open_source(f"folder:{class_folder}", channels=4)


def test_folder_of_splits(class_folder):
    with pytest.raises(KgraftError, match=r"Is set a split\? Then give folder:.*/set"):
        open_source(f"folder:{class_folder.parent}")
