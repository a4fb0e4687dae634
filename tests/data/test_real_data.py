"""On real data. KGRAFT_TEST_DATA: a folder with `tfds/` (cifar10, fashion_mnist), `imagenet/`."""

import os
import pathlib

import numpy as np
import pytest

from kgraft.data import draw_transfer_set, eval_batches, make_views, open_source

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data():
    return pathlib.Path(os.environ["KGRAFT_TEST_DATA"])


@pytest.mark.parametrize(
    ("name", "shape", "first"),
    [("cifar10", (32, 32, 3), "airplane"), ("fashion_mnist", (28, 28, 1), "T-shirt/top")],
)
def test_prepared_set(data, name, shape, first):
    source = open_source(f"tfds:{name}", split="test", data_dir=str(data / "tfds"))
    assert source.image_shape == shape
    assert source.class_names[0] == first
    labels = np.concatenate([labels for _, labels in eval_batches(source, size=shape)])
    np.testing.assert_array_equal(labels, source.labels)
    transfer = draw_transfer_set(source, shots=10)
    positions = [source.ids.index(name) for name in transfer.ids]
    assert np.bincount(source.labels[positions]).tolist() == [10] * 10


def test_imagenet_folders(data):
    size = (224, 224, 3)
    source = open_source(f"folder:{data / 'imagenet/one_per_class'}")
    assert source.class_count == 1000
    transfer = draw_transfer_set(source, shots=1)
    assert len(transfer.images) == 1000
    assert transfer.skipped == ()
    views = make_views(
        transfer.images[:20], augment="imagenet", views=2, size=size, seed=0, resize="crop"
    )
    assert views.shape == (40, *size)
    wnids = (data / "imagenet/wnids.txt").read_text().split()
    test_set = open_source(f"folder:{data / 'imagenet/imagenette_val'}")
    batches = list(eval_batches(test_set, size=size, resize="crop", label_names=wnids))
    labels = np.concatenate([labels for _, labels in batches])
    assert sorted(set(labels)) == [wnids.index(name) for name in test_set.class_names]
