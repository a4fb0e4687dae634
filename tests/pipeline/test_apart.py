import dataclasses

import numpy as np
import pytest

from kgraft.data import open_source
from kgraft.data.fewshot import TransferSet
from kgraft.data_config import same_folder, same_set
from kgraft.errors import KgraftError
from kgraft.pipeline import test_set
from kgraft.pipeline.apart import check_drawn_apart
from kgraft.pipeline.transfer import Transfer

IMAGES = np.random.default_rng(0).integers(0, 256, [6, 4, 4, 3], np.uint8)


def labelled(tmp_path, images):
    path = tmp_path / "images.npz"
    np.savez(path, images=images, labels=np.zeros(len(images), int))
    return test_set.TestSet(open_source(f"npz:{path}", split="test"), "none")


def transfer_of(*positions, extra=()):
    def drawn(places):
        return TransferSet(
            tuple(IMAGES[place] for place in places), tuple(map(str, places)), class_names=None
        )

    views = IMAGES[:1]
    more = drawn(extra) if extra else None
    owners = np.zeros(1, int)
    return Transfer(drawn(positions), (4, 4, 3), "none", views, owners, views, "", extra=more)


@pytest.fixture
def config(world, tmp_path):
    spec = f"npz:{tmp_path / 'images.npz'}"
    return dataclasses.replace(world.config().data, dataset=spec, eval_dataset=spec)


def test_a_file_without_splits_is_not_the_labelled_its_own_images(config, tmp_path):
    test = labelled(tmp_path, IMAGES)
    with pytest.raises(KgraftError, match=r"holds 2 of the 2 transfer images: give a test set"):
        check_drawn_apart(config, transfer_of(1, 4), test)
    config = dataclasses.replace(config, dataset="npz:other.npz", extra_dataset=config.dataset)
    with pytest.raises(KgraftError, match=r"holds 1 of the 1 extra images"):
        check_drawn_apart(config, transfer_of(1, extra=[2]), test)


def test_images_of_another_split_or_set_may_have_the_same_names(config, tmp_path):
    np.savez(tmp_path / "split.npz", train_images=IMAGES, test_images=IMAGES)
    split = open_source(f"npz:{tmp_path / 'split.npz'}", split="test")
    assert not split.ids_span_splits
    check_drawn_apart(config, transfer_of(1, 4), test_set.TestSet(split, "none"))
    config = dataclasses.replace(config, dataset="npz:other.npz")
    check_drawn_apart(config, transfer_of(1, 4), labelled(tmp_path, IMAGES))
    check_drawn_apart(config, transfer_of(1, 4), None)


def test_splits_of_tfds_that_overlap(config):
    class Named:
        ids_span_splits, ids = True, ("a__4", "a__5")

    with pytest.raises(KgraftError, match=r"holds 1 of the 2 transfer images"):
        transfer = transfer_of(1, 4)
        named = dataclasses.replace(transfer.images, ids=("a__3", "a__4"))
        check_drawn_apart(
            config, dataclasses.replace(transfer, images=named), test_set.TestSet(Named(), "none")
        )


def test_a_folder_by_another_name(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    assert same_folder(f"folder:{tmp_path}/images", f"folder:{tmp_path}/link")
    assert same_folder(f"folder:{tmp_path}/images", f"folder:{tmp_path}/x/../images")


def test_arrays_by_another_path():
    assert same_set("npz:a/images.npz", "npz:b/../a/images.npz")
    assert same_set("tfds:cifar10", "tfds:cifar10")
    assert same_set("tfds:cifar10", "tfds:cifar10:3.0.2")
    assert same_set("tfds:imagenet_v2/matched:3.0.*", "tfds:imagenet_v2/matched")
    assert not same_set("tfds:cifar10", "tfds:cifar100")
    assert not same_set("tfds:huggingface:mnist", "tfds:huggingface:cifar10")
    assert not same_set("npz:a/images.npz", "npz:b/images.npz")
    assert not same_set("folder:a", "npz:a")


def test_folders_in_one_another():
    assert same_folder("folder:images", "folder:images/")
    assert same_folder("folder:images", "folder:images/val")
    assert same_folder("folder:images/val", "folder:images")
    assert not same_folder("folder:images/train", "folder:images/val")
    assert not same_folder("npz:images", "npz:images")


def test_a_file_by_another_path_is_the_same_file(config, tmp_path):
    other = f"npz:{tmp_path / 'sub' / '..' / 'images.npz'}"
    config = dataclasses.replace(config, dataset=other)
    with pytest.raises(KgraftError, match=r"holds 2 of the 2 transfer images"):
        check_drawn_apart(config, transfer_of(1, 4), labelled(tmp_path, IMAGES))
