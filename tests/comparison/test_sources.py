import numpy as np
import pytest

from kgraft.comparison.sources import check_shots
from kgraft.data import open_source
from kgraft.errors import KgraftError


@pytest.fixture
def source_of(tmp_path):
    def make(**arrays):
        count = len(arrays.get("labels", [0, 0]))
        np.savez(tmp_path / "a.npz", images=np.zeros([count, 2, 2, 3], np.uint8), **arrays)
        return open_source(f"npz:{tmp_path / 'a.npz'}")

    return make


def test_the_class_of_fewest_images_counts(source_of):
    source = source_of(labels=np.array([0, 0, 0, 1, 1]))
    check_shots(source, (1, 2))
    message = "--shots_list=3,1: class '1' of .* has 2 images, fewer than 3; the largest possible"
    with pytest.raises(KgraftError, match=message):
        check_shots(source, (3, 1))


def test_a_class_without_images(source_of):
    source = source_of(labels=np.array([0, 2]), class_names=np.array(["a", "b", "c"]))
    message = "class 'b' of .* has 0 images, fewer than 1; remove the class from the data set$"
    with pytest.raises(KgraftError, match=message):
        check_shots(source, (1,))


def test_what_has_no_labels_is_no_data_set_for_a_comparison(source_of):
    message = "has no labels, and a comparison draws .*: give a labelled data set"
    with pytest.raises(KgraftError, match=message):
        check_shots(source_of(), (1,))
