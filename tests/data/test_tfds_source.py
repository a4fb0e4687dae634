import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kgraft.data import CorruptImage, open_source
from kgraft.data.tfds_source import TfdsSource, _covering
from kgraft.errors import KgraftError

from .conftest import picture, tiny_builder, tiny_features


def by_tfds(folder, split, name="tiny_pets"):
    """What TFDS itself says the split holds, by its own ids."""
    builder = tfds.builder(name, data_dir=str(folder))
    data = builder.as_dataset(split=split, read_config=tfds.ReadConfig(add_tfds_id=True))
    return {e["tfds_id"].decode(): (e["picture"], e["label"]) for e in data.as_numpy_iterator()}


@pytest.mark.parametrize("split", ["train", "test", "train[2:6]", "train[-3:]", "train[1:7]+test"])
def test_agrees_with_tfds_for_every_slice(tfds_folder, split):
    expected = by_tfds(tfds_folder, split)
    source = open_source("tfds:tiny_pets", split=split, data_dir=str(tfds_folder))
    assert len(source) == len(source.ids) == len(expected)
    found = list(source.iterate())
    for name, label, (image, image_label) in zip(source.ids, source.labels, found, strict=True):
        np.testing.assert_array_equal(image, expected[name][0])
        assert label == image_label == expected[name][1]


def test_reads_positions_in_any_order_and_more_than_once(tfds_folder):
    source = open_source("tfds:tiny_pets", data_dir=str(tfds_folder))
    images = [image for image, _ in source.iterate()]
    order = [7, 0, 3, 3, 8]
    for position, (image, label) in zip(order, source.iterate(order), strict=True):
        np.testing.assert_array_equal(image, images[position])
        assert label == source.labels[position]
    np.testing.assert_array_equal(source.read(5), images[5])
    assert list(source.iterate([])) == []


def test_describes_a_set_that_tfds_does_not_know(tfds_folder):
    source = open_source("tfds:tiny_pets", data_dir=str(tfds_folder))
    assert source.name == "tfds:tiny_pets"
    assert source.image_shape == (6, 5, 3)
    assert source.class_names == ("cat", "dog", "emu")
    assert source.has_labels
    assert source.labels.dtype == np.int64
    assert source.class_count == 3


def test_opens_an_adhoc_set_under_a_registered_name_and_another_version(tmp_path):
    """A folder may hold `mnist` as somebody else prepared it, in a version TFDS has not."""
    images = [picture(i, 28, 28, 1) for i in range(4)]
    rows = [(i, {"image": images[i], "label": i % 2, "id": str(i)}) for i in range(4)]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="mnist",
        version="1.2.3",
        features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(28, 28, 1)),
            "label": tfds.features.ClassLabel(num_classes=2),
            "id": tfds.features.Text(),
        }),
        split_datasets={"train": rows},
        data_dir=str(tmp_path),
    )
    source = open_source("tfds:mnist", data_dir=str(tmp_path))
    assert (len(source), source.image_shape, source.class_names) == (4, (28, 28, 1), None)
    assert sorted(source.labels) == [0, 0, 1, 1]


def test_takes_the_newest_version_and_the_one_asked_for(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        tiny_builder(tmp_path, version=version)
    data_dir = str(tmp_path)
    newest = open_source("tfds:tiny_pets", data_dir=data_dir)
    assert str(newest._builder.version) == "1.10.0"
    assert str(open_source("tfds:tiny_pets:1.9.0", data_dir=data_dir)._builder.version) == "1.9.0"


def test_open_channels_and_sizes_are_decoded_as_asked(tmp_path):
    features = tiny_features(picture=tfds.features.Image(shape=(None, None, None)))
    tiny_builder(tmp_path, features=features)
    for channels in (1, 3):
        source = open_source("tfds:tiny_pets", data_dir=str(tmp_path), channels=channels)
        assert source.image_shape is None
        assert source.read(0).shape == (6, 5, channels)


def test_minus_one_labels_are_no_labels(tmp_path):
    features = tiny_features(label=tfds.features.Scalar(np.int64))
    tiny_builder(tmp_path, features=features, extra={"label": -1})
    source = open_source("tfds:tiny_pets", data_dir=str(tmp_path))
    assert not source.has_labels
    assert source.labels is None
    assert source.class_count is None
    assert [label for _, label in source.iterate()] == [None] * 9


def test_corrupt_image_is_named_and_the_rest_is_read(tmp_path):
    builder = tiny_builder(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(builder.data_dir, broken / "tiny_pets" / "1.0.0")
    file = sorted((broken / "tiny_pets/1.0.0").glob("*train*"))[0]
    records = [bytes(r) for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    records[1] = records[1].replace(b"\x89PNG", b"\x00\x00\x00\x00")
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    source = open_source("tfds:tiny_pets", data_dir=str(broken))
    images = [image for image, _ in source.attempts()]
    assert [isinstance(image, CorruptImage) for image in images] == [False, True] + [False] * 7
    with pytest.raises(CorruptImage, match=r"cannot decode tiny_pets-train.*__1: "):
        source.read(1)
    assert isinstance(source.read(2), np.ndarray)


def test_far_positions_are_read_in_separate_short_spans():
    spans = [("train", 100, 50_100), ("test", 0, 10)]
    rising = np.array([3, 40, 30_000, 50_001, 50_004])
    assert list(_covering(spans, rising)) == [
        (3, ("train", 103, 141)),
        (30_000, ("train", 30_100, 30_101)),
        (50_001, ("test", 1, 5)),
    ]


def test_not_prepared_names_the_folder_what_it_holds_and_the_flag(tfds_folder):
    message = r"not prepared in .*: the folder holds tiny_pets; point --data_dir .* --download"
    with pytest.raises(KgraftError, match=message):
        open_source("tfds:cifar10", data_dir=str(tfds_folder))
    with pytest.raises(KgraftError, match=r"not prepared in .*absent: there is no such folder"):
        open_source("tfds:cifar10", data_dir=str(tfds_folder / "absent"))


@pytest.mark.parametrize("name", ["no_such_set", "tiny_pets:9.9.9", "tiny_pets/no_config", "a b"])
def test_unknown_name(tfds_folder, name):
    with pytest.raises(KgraftError, match=r"TFDS knows no set of this name .*holds tiny_pets"):
        open_source(f"tfds:{name}", data_dir=str(tfds_folder))


@pytest.mark.parametrize("split", ["validation", "train[a:b]", "train[", ""])
def test_unknown_split_lists_those_there_are(tfds_folder, split):
    with pytest.raises(KgraftError, match=r"no split .*: its splits are (train, test|test, train)"):
        open_source("tfds:tiny_pets", split=split, data_dir=str(tfds_folder))


def test_empty_slice(tfds_folder):
    with pytest.raises(KgraftError, match="holds no images"):
        open_source("tfds:tiny_pets", split="train[4:4]", data_dir=str(tfds_folder))


def test_no_image_feature(tmp_path):
    features = tfds.features.FeaturesDict({"label": tfds.features.ClassLabel(num_classes=3)})
    tiny_builder(tmp_path, features=features)
    with pytest.raises(KgraftError, match="expected one image feature, found none among label"):
        TfdsSource("tiny_pets", data_dir=str(tmp_path))


def test_several_image_features(tmp_path):
    features = tiny_features(mask=tfds.features.Image(shape=(6, 5, 3)))
    tiny_builder(tmp_path, features=features, extra={"mask": picture(0, 6, 5)})
    with pytest.raises(KgraftError, match=r"expected one image feature, found .*mask"):
        TfdsSource("tiny_pets", data_dir=str(tmp_path))


def test_images_that_are_not_uint8(tmp_path):
    deep = tfds.features.Image(shape=(6, 5, 1), dtype=np.uint16, encoding_format="png")
    pixels = np.zeros((6, 5, 1), np.uint16)
    tiny_builder(tmp_path, features=tiny_features(picture=deep), extra={"picture": pixels})
    with pytest.raises(KgraftError, match=r"must be uint8 pixels 0..255; 'picture' is uint16"):
        TfdsSource("tiny_pets", data_dir=str(tmp_path))


def test_several_labels_and_none_called_label(tmp_path):
    features = tfds.features.FeaturesDict({
        "picture": tfds.features.Image(shape=(6, 5, 3)),
        "genus": tfds.features.ClassLabel(num_classes=3),
        "species": tfds.features.ClassLabel(num_classes=3),
    })
    tiny_builder(tmp_path, features=features, extra={"genus": 0, "species": 1})
    with pytest.raises(KgraftError, match=r"several label features .*genus, species"):
        TfdsSource("tiny_pets", data_dir=str(tmp_path))


def test_download_failure_is_one_line(tmp_path):
    # Needs files downloaded by hand, and the folder for them is empty: fails without a network.
    with pytest.raises(KgraftError, match=r"^tfds:imagenet2012 could not be .*prepared: .+$"):
        open_source(
            "tfds:imagenet2012",
            data_dir=str(tmp_path),
            manual_dir=str(tmp_path / "manual"),
            download=True,
        )


def test_features_that_are_not_asked_for_may_be_of_any_shape(tmp_path):
    """Masks and boxes, such as Oxford pets and Stanford dogs have."""
    features = tiny_features(
        boxes=tfds.features.Sequence(tfds.features.BBoxFeature()),
        numbers=tfds.features.Tensor(shape=(None,), dtype=np.int64),
    )

    def builder(count):
        box = tfds.features.BBox(0.0, 0.0, 0.5, 0.5)
        return {"boxes": [box] * count, "numbers": np.arange(count)}

    tiny_builder(tmp_path, features=features, extra=builder)
    source = open_source("tfds:tiny_pets", data_dir=str(tmp_path))
    plain = tmp_path / "plain"
    plain.mkdir()
    tiny_builder(plain)
    wanted_images = open_source("tfds:tiny_pets", data_dir=str(plain)).iterate()
    found = list(source.iterate())
    assert len(found) == 9
    for (image, label), (wanted, wanted_label) in zip(found, wanted_images, strict=True):
        np.testing.assert_array_equal(image, wanted)
        assert label == wanted_label


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: cut_short(path)])
def test_files_that_are_missing_or_damaged_are_named(tfds_folder, tmp_path, harm):
    shutil.copytree(tfds_folder, tmp_path / "sets")
    path = max((tmp_path / "sets" / "tiny_pets").rglob("*-train.*"))
    harm(path)
    source = open_source("tfds:tiny_pets", data_dir=str(tmp_path / "sets"))
    message = rf"tfds:tiny_pets cannot be read: a file in {path.parent} is missing or damaged; copy"
    for read in (lambda: source.labels, lambda: list(source.iterate())):
        with pytest.raises(KgraftError, match=message):
            read()


def cut_short(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
