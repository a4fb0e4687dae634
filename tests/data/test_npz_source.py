import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgraft.data import open_source
from kgraft.errors import KgraftError

IMAGES = np.arange(5 * 4 * 3 * 3, dtype=np.uint8).reshape(5, 4, 3, 3)
LABELS = np.array([0, 2, 1, 2, 0])


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        return f"npz:{tmp_path / 'set.npz'}"

    return write


def test_images_labels_and_names(save):
    source = open_source(save(images=IMAGES, labels=LABELS, class_names=["a", "b", "c"]))
    assert len(source) == 5
    assert source.ids == ("0", "1", "2", "3", "4")
    assert source.image_shape == (4, 3, 3)
    assert source.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(source.labels, LABELS)
    np.testing.assert_array_equal(source.read(3), IMAGES[3])
    (first, label), (second, _) = source.iterate([4, 1])
    np.testing.assert_array_equal(first, IMAGES[4])
    np.testing.assert_array_equal(second, IMAGES[1])
    assert label == 0


def test_labels_and_channels_may_be_missing(save):
    source = open_source(save(images=IMAGES[..., 0]))
    assert source.labels is None
    assert source.class_names is None
    assert source.image_shape == (4, 3, 1)
    assert [label for _, label in source.iterate()] == [None] * 5


def test_names_of_classes_are_no_labels(save):
    names = ["a", "b", "c"]
    source = open_source(save(images=IMAGES, class_names=names))
    assert source.class_names == ("a", "b", "c")
    assert not source.has_labels
    assert open_source(save(images=IMAGES, labels=LABELS, class_names=names)).has_labels


def test_names_may_be_bytes(save):
    source = open_source(save(images=IMAGES, class_names=["café".encode(), b"b"]))
    assert source.class_names == ("café", "b")


def test_floats_in_pixel_range_are_rounded(save):
    source = open_source(save(images=IMAGES.astype(np.float32) + 0.4))
    np.testing.assert_array_equal(source.read(2), IMAGES[2])


def test_splits(save):
    spec = save(
        train_images=IMAGES, train_labels=LABELS, test_images=IMAGES[:2], test_labels=LABELS[:2]
    )
    assert len(open_source(spec)) == 5
    assert len(open_source(spec, split="test")) == 2
    with pytest.raises(KgraftError, match="no split 'valid': its splits are train, test"):
        open_source(spec, split="valid")


def test_a_split_of_its_own_comes_before_images_without_one(save):
    spec = save(images=IMAGES, labels=LABELS, test_images=IMAGES[:2], test_labels=LABELS[1:3])
    test = open_source(spec, split="test")
    assert len(test) == 2 and test.labels.tolist() == [2, 1]
    assert not test.ids_span_splits
    for split in ("train", "valid"):
        others = open_source(spec, split=split)
        assert len(others) == 5
        # Images of two arrays are other images.
        assert others.ids_span_splits and set(others.ids).isdisjoint(test.ids)


def test_split_of_a_file_without_splits_is_the_whole_file(save):
    assert len(open_source(save(images=IMAGES), split="test")) == 5


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, r"must hold an array 'images' .*it holds x$"),
        ({"images": IMAGES[0, 0]}, r"'images' must be \[n, height, width\] .*got \[3, 3\]"),
        ({"images": IMAGES[:0]}, r"none of them 0; got \[0, 4, 3, 3\]"),
        ({"images": IMAGES.astype(np.int32)}, r"must be uint8 or floats 0..255; got int32"),
        ({"images": IMAGES / 255.0}, r"got floats 0..\S+: multiply them by 255"),
        ({"images": IMAGES - 9.0}, r"must be pixels 0..255; got floats -9.."),
        ({"images": IMAGES * np.nan}, r"must be pixels 0..255; got floats nan"),
        (
            {"images": IMAGES, "labels": LABELS[:2]},
            r"integers \[5\], one an image; got int64 \[2\]",
        ),
        ({"images": IMAGES, "labels": LABELS * 1.0}, r"integers \[5\].*got float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, r"'labels' must not be below 0; got -1"),
        (
            {"images": IMAGES, "labels": LABELS.astype("uint64") + 2**63},
            r"'labels' must be below 1000000; got 92233",
        ),
        ({"images": IMAGES, "labels": LABELS, "class_names": ["a"]}, r"text \[3 or more\]"),
        ({"images": IMAGES, "class_names": [1, 2]}, r"must be text \[0 or more\].*got int64"),
        ({"images": IMAGES, "class_names": [b"caf\xe9"]}, r"must be UTF-8; got b'caf\\xe9'"),
        ({"images": IMAGES, "class_names": ["caf\udce9"]}, r"must be UTF-8; got 'caf\\udce9'"),
        ({"images": np.array([None] * 5)}, r"'images' cannot be read: Object arrays"),
    ],
)
def test_wrong_arrays(save, arrays, message):
    with pytest.raises(KgraftError, match=message) as caught:
        open_source(save(**arrays))
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(KgraftError, match=r"there is no file .*absent\.npz"):
        open_source(f"npz:{tmp_path}/absent.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 but no zip"])
def test_not_an_npz_file(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(KgraftError, match=r"is not an npz file"):
        open_source(f"npz:{tmp_path}/a.npz")


def test_single_array_file_is_not_an_npz_file(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(KgraftError, match=r"is not an npz file"):
        open_source(f"npz:{tmp_path}/a.npy")


def test_damaged_array(save, tmp_path):
    spec = save(images=IMAGES)
    data = bytearray((tmp_path / "set.npz").read_bytes())
    data[200] ^= 255
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(KgraftError, match=r"'images' cannot be read"):
        open_source(spec)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_error_of_one_line(data, tmp_path_factory):
    """Or none, where it hits what nothing reads."""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez_compressed(path, images=IMAGES)
    whole = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(whole) - 4))
    whole[start : start + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path.write_bytes(whole)
    try:
        assert len(open_source(f"npz:{path}")) == len(IMAGES)
    except KgraftError as error:
        assert "damaged.npz" in str(error) and "\n" not in str(error)
