import dataclasses

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds

from kgraft.data import open_source
from kgraft.errors import KgraftError
from kgraft.graph import trace_model
from kgraft.pipeline import test_set
from kgraft.pipeline.test_set import check_test_set, open_test_set

SIZE = (16, 16, 3)


@pytest.fixture(scope="module")
def teacher(world):
    return trace_model(keras.saving.load_model(world.teacher))


def test_extra_images_are_not_the_test_set(world, teacher):
    flags = {"extra_dataset": world.npz, "extra_split": "test", "eval_dataset": world.npz}
    message = "is the set the extra images are drawn from: give a test set apart from it"
    with pytest.raises(KgraftError, match=message):
        open_test_set(world.config(**flags).data, teacher)


def test_a_folder_around_the_transfer_images_is_not_the_test_set(world, teacher):
    flags = {"dataset": "folder:images/train", "eval_dataset": "folder:images"}
    message = "drawn from, or shares folders with it: give a test set apart"
    with pytest.raises(KgraftError, match=message):
        open_test_set(world.config(**flags).data, teacher)


def test_no_test_set(world, teacher):
    assert open_test_set(world.config().data, teacher) is None


def test_the_test_split_of_the_test_set(world, teacher):
    test = open_test_set(world.config(eval_dataset=world.npz).data, teacher)
    assert len(test.source) == 40 and test.resize == "none"
    train = world.config(eval_dataset=world.npz, eval_split="train").data
    with pytest.raises(KgraftError, match="is the set the transfer images are drawn from"):
        open_test_set(train, teacher)
    assert len(open_test_set(dataclasses.replace(train, split="test"), teacher).source) == 32


def test_a_split_whose_labels_are_all_minus_one_has_none(teacher, world, tmp_path):
    """As `tfds:imagenet2012` has it in its test split, the default of `--eval_split`."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_unlabelled",
        version="1.0.0",
        features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(16, 16, 3)),
            "label": tfds.features.Scalar(np.int64),
        }),
        split_datasets={
            "test": [(i, {"image": pixels, "label": -1}) for i in range(3)],
            "validation": [(i, {"image": pixels, "label": i}) for i in range(3)],
        },
        data_dir=str(tmp_path),
    )
    flags = {"eval_dataset": "tfds:tiny_unlabelled", "eval_data_dir": str(tmp_path)}
    message = "--eval_dataset=tfds:tiny_unlabelled, split test, has no labels to report accuracy by"
    with pytest.raises(KgraftError, match=message):
        open_test_set(world.config(**flags).data, teacher)
    found = open_test_set(world.config(**flags, eval_split="validation").data, teacher)
    assert len(found.source) == 3


def test_a_file_of_images_and_class_names_has_no_labels(teacher, world, tmp_path):
    pixels = np.zeros((3, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "named.npz", images=pixels, class_names=["red", "green", "blue", "yellow"])
    config = world.config(eval_dataset=f"npz:{tmp_path}/named.npz").data
    message = r"named\.npz, split test, has no labels to report accuracy by: give a labelled test"
    with pytest.raises(KgraftError, match=message):
        open_test_set(config, teacher)


def test_labels_that_are_no_logits_are_found_before_training(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 16, 16, 3), np.uint8), labels=[0, 4, 2])
    test = test_set.TestSet(open_source(f"npz:{tmp_path}/a.npz", split="test"), "none")
    check_test_set(test, SIZE, None, classes=5)
    with pytest.raises(KgraftError, match=r"npz has labels up to 4, the teacher only the logits 0"):
        check_test_set(test, SIZE, None, classes=4)


def test_the_test_sets_description_is_checked_without_reading_it(world, monkeypatch):
    source = open_source(world.npz, split="test")
    monkeypatch.setattr(type(source), "attempts", None)
    monkeypatch.setattr(type(source), "labels", None)
    test = test_set.TestSet(source, "none")
    names = ("yellow", "green", "red", "blue", "black")
    check_test_set(test, SIZE, names, classes=5)
    with pytest.raises(KgraftError, match="'yellow' is not among the 3 labels"):
        check_test_set(test, SIZE, ("red", "green", "blue"), classes=3)
    with pytest.raises(KgraftError, match="has 4 classes, the teacher 5 logits: give --labels"):
        check_test_set(test, SIZE, None, classes=5)
    with pytest.raises(KgraftError, match="16 x 16 x 3, but the teacher takes 8 x 8 x 3"):
        check_test_set(test, (8, 8, 3), names, classes=5)
