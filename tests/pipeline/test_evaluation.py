import numpy as np
import pytest

from kgraft.data import open_source
from kgraft.errors import KgraftError
from kgraft.pipeline import transfer
from kgraft.pipeline.evaluation import Judged, judge, report_batches

ZEROS = np.zeros((3, 2, 2, 1), np.uint8)


def constant(*logits):
    return lambda images: np.tile(np.array(logits, np.float32), (len(images), 1))


def by_pixel(images):
    return images[:, 0, 0, :1] * [[1.0, -1.0]] + [[0.0, 0.5]]


def test_judges_all_models_on_the_same_images():
    first = np.full((1, 2, 2, 1), 255, np.uint8)
    batches = [(ZEROS, np.array([1, 1, 0])), (first, np.array([0]))]
    found = judge({"teacher": by_pixel, "one": constant(0, 1)}, iter(batches), preprocessing="unit")
    assert found == {"teacher": Judged(0.75, 1.0), "one": Judged(0.5, 0.75)}


def test_without_labels_there_is_agreement_only():
    models = {"teacher": constant(1, 0), "other": constant(0, 1)}
    found = judge(models, iter([(ZEROS, None)]), preprocessing="none")
    assert found == {"teacher": Judged(None, 1.0), "other": Judged(None, 0.0)}


def test_no_image_and_labels_without_a_logit_are_refused():
    teacher = {"teacher": constant(1, 0)}
    with pytest.raises(KgraftError, match="no image to evaluate on"):
        judge(teacher, iter([]), preprocessing="none")
    with pytest.raises(KgraftError, match="has label 2, the teacher only the logits 0 to 1"):
        judge(teacher, iter([(ZEROS, np.array([0, 1, 2]))]), preprocessing="none")


def transfer_of(heldout):
    return transfer.Transfer(None, (16, 16, 3), "none", heldout, heldout, "")


def test_the_heldout_views_stand_in_for_a_test_set():
    heldout = np.zeros((70, 16, 16, 3), np.uint8)
    batches = list(report_batches(transfer_of(heldout), None, None, []))
    assert [len(images) for images, _ in batches] == [64, 6]
    assert all(labels is None for _, labels in batches)


def test_test_images_that_cannot_be_read_are_counted(folder):
    (folder / "blue" / "02.png").write_bytes(b"spoilt")
    skipped = []
    test = transfer.TestSet(open_source(f"folder:{folder}"), "crop")
    names = ("yellow", "red", "green", "blue")
    batches = list(report_batches(transfer_of(ZEROS), test, names, skipped))
    labels = np.concatenate([labels for _, labels in batches])
    # Sub-folders in the order of their names: blue, green, red, yellow.
    assert labels.tolist() == [3] * 3 + [2] * 4 + [1] * 4 + [0] * 4
    assert [entry.what for entry in skipped] == ["test image"] and "02.png" in skipped[0].why


def test_accuracy_among_the_classes_that_are_there():
    # Logit 2 is the largest, but the test set has classes 0 and 1 only.
    batch = [(ZEROS, np.array([1, 1, 0]))]
    present = np.array([0, 1])
    found = judge(
        {"teacher": constant(0, 1, 2)}, iter(batch), preprocessing="none", present=present
    )
    assert found["teacher"].accuracy == 0
    assert found["teacher"].among == pytest.approx(2 / 3)
