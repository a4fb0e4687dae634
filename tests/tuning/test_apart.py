import pytest
from tuning_cases import settings

from kgraft.errors import KgraftError
from kgraft.tuning.apart import check_images_apart

TFDS = {"dataset": "tfds:cifar10", "eval_dataset": "tfds:cifar10", "eval_split": "test"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {**TFDS, "val_split": "test"},
            "is the test set of the report, which must have no part in",
        ),
        ({**TFDS, "val_split": "train"}, "is what the transfer images are drawn from: give images"),
        (
            {**TFDS, "val_split": "test", "data_dir": "here", "eval_data_dir": "here"},
            "--val_dataset=tfds:cifar10 --val_split=test is the test set",
        ),
        (
            {"dataset": "folder:images", "val_dataset": "folder:./images"},
            "is what the transfer images are drawn from",
        ),
        (
            {"dataset": "folder:images", "val_dataset": "folder:images/held"},
            "is what the transfer images are drawn from",
        ),
        (
            {"extra_dataset": "folder:more", "val_dataset": "folder:more/held"},
            "is what the extra images are drawn from",
        ),
        (
            {"eval_dataset": "folder:tests/a", "val_dataset": "folder:tests"},
            "is the test set of the report",
        ),
    ],
)
def test_a_set_that_has_another_part_does_not_choose(flags, message):
    given = {"objective": "accuracy", "val_dataset": "tfds:cifar10", **flags}
    with pytest.raises(KgraftError, match=message):
        settings(**given)


@pytest.mark.parametrize(
    "flags",
    [
        {**TFDS, "val_dataset": "tfds:cifar10", "val_split": "train[45000:]"},
        {**TFDS, "val_dataset": "tfds:cifar10_1", "val_split": "test"},
        {**TFDS, "val_dataset": "tfds:cifar10", "val_split": "test", "val_data_dir": "elsewhere"},
        {"dataset": "folder:images/a", "val_dataset": "folder:images/b"},
        {"dataset": "folder:images", "val_dataset": "folder:images2"},
    ],
)
def test_what_settings_cannot_tell_apart_passes_them(flags):
    found = settings(objective="accuracy", min_accuracy=0.9, **flags)
    assert found.validation_data.eval_dataset == flags["val_dataset"]


def test_images_of_the_same_name_are_counted():
    data = settings(val_dataset="tfds:a", val_split="train[5:]").validation_data
    check_images_apart(data, ["a", "b"], ["c"], "what is drawn from")
    message = "--val_split=train\\[5:\\] has in 2 of its images what is drawn from: give images"
    with pytest.raises(KgraftError, match=message):
        check_images_apart(data, ["a", "b", "c"], ["b", "c", "d"], "what is drawn from")
