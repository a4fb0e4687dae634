import numpy as np
import pytest

from kgraft.data import CorruptImage, eval_batches, open_source
from kgraft.errors import KgraftError

from .conftest import picture, write_image

SIZE = (12, 12, 3)


@pytest.fixture
def source(class_folder):
    return open_source(f"folder:{class_folder}")


def test_every_image_once_in_order_with_a_shorter_last_batch(source):
    batches = list(eval_batches(source, size=SIZE, resize="crop", batch=5))
    assert [images.shape for images, _ in batches] == [(5, *SIZE), (5, *SIZE), (2, *SIZE)]
    assert batches[0][0].dtype == np.uint8
    assert batches[0][1].dtype == np.int64
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), source.labels)


def test_classes_go_to_the_logit_of_their_name(source):
    names = ("zebra", "cow", "ant", "dog", "bee")
    batches = eval_batches(source, size=SIZE, resize="crop", label_names=names)
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.tolist() == [2] * 4 + [4] * 3 + [1] * 5


def test_labels_without_names_are_logit_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, *SIZE), np.uint8), labels=[2, 0, 1])
    source = open_source(f"npz:{tmp_path / 'a.npz'}")
    ((_, labels),) = eval_batches(source, size=SIZE, label_names=("x", "y", "z"))
    assert labels.tolist() == [2, 0, 1]


def test_unknown_class_is_named_before_anything_is_read(source):
    message = (
        r"class 'cow' is not among the 2 labels of the teacher \(ant, bee, \.\.\.\); 1 of its 3"
    )
    with pytest.raises(KgraftError, match=message):
        eval_batches(source, size=SIZE, label_names=("ant", "bee"))


def test_a_name_of_several_logits_says_nothing(source):
    message = r"class 'bee' is the name of several of the teacher's 4 logits: give labels that tell"
    with pytest.raises(KgraftError, match=message):
        eval_batches(source, size=SIZE, label_names=("ant", "bee", "cow", "bee"))
    # That of no class of this set may be.
    eval_batches(source, size=SIZE, label_names=("ant", "bee", "cow", "dog", "dog"))


def test_the_sets_own_names_are_in_the_order_of_its_labels(tmp_path):
    names = ["crane", "crane", "maillot"]
    np.savez(
        tmp_path / "a.npz",
        images=np.zeros((3, *SIZE), np.uint8),
        labels=[2, 0, 1],
        class_names=np.array(names),
    )
    source = open_source(f"npz:{tmp_path / 'a.npz'}")
    ((_, labels),) = eval_batches(source, size=SIZE, label_names=names)
    assert labels.tolist() == [2, 0, 1]


def test_unlabelled_test_set(tmp_path):
    write_image(tmp_path / "0.png", picture(0))
    with pytest.raises(KgraftError, match=r"has no labels to measure accuracy with"):
        eval_batches(open_source(f"folder:{tmp_path}"), size=SIZE)


def test_wrong_size_names_the_image_and_the_remedy(source):
    with pytest.raises(
        KgraftError, match=r"image 0 is 12 x 16 x 3, .* 12 x 12 x 3 .*--resize=crop"
    ):
        list(eval_batches(source, size=SIZE, resize="none"))


def test_corrupt_image_stops_or_is_handed_over(source, class_folder):
    (class_folder / "bee" / "1.JPEG").write_bytes(b"broken")
    with pytest.raises(CorruptImage, match=r"bee/1\.JPEG"):
        list(eval_batches(source, size=SIZE, resize="crop"))
    seen = []
    ((images, labels),) = eval_batches(source, size=SIZE, resize="crop", on_corrupt=seen.append)
    assert len(images) == len(labels) == 11
    assert labels.tolist() == [0] * 4 + [1] * 2 + [2] * 5
    assert [isinstance(error, CorruptImage) for error in seen] == [True]
