import dataclasses

import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.export import Comparison, Verification
from kgraft.pipeline.judging import Judged, judge, with_test_set

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


def test_accuracy_among_the_classes_that_are_there():
    # Logit 2 is the largest, but the test set has classes 0 and 1 only.
    batch = [(ZEROS, np.array([1, 1, 0]))]
    present = np.array([0, 1])
    found = judge(
        {"teacher": constant(0, 1, 2)}, iter(batch), preprocessing="none", present=present
    )
    assert found["teacher"].accuracy == 0
    assert found["teacher"].among == pytest.approx(2 / 3)


def test_files_are_held_against_the_student():
    models = {"student": by_pixel, "file": constant(0.25, 0.5)}
    batches = [(ZEROS, np.array([1, 1, 0])), (np.full((1, 2, 2, 1), 255, np.uint8), np.array([0]))]
    found = judge(models, iter(batches), preprocessing="unit", reference="student")
    assert found["student"] == Judged(0.75, 1.0, beside=Comparison(0.0, 0.0, 1.0, 0.75, 4))
    # The student says (0, 0.5) of black images and (1, -0.5) of the white one.
    expected = Comparison(1.0, (3 * 0.25 + 0.75 + 1.0) / 8, 0.75, 0.5, 4)
    assert found["file"] == Judged(0.5, 0.75, beside=expected)


@pytest.mark.parametrize("last", [False, True])
def test_an_answer_that_is_not_a_number_is_not_lost(last):
    def broken(images):
        logits = by_pixel(images)
        # In one of two batches alone, first or last.
        if bool(images.max() > 0) == last:
            logits[0, 0] = np.nan
        return logits

    white = np.full((1, 2, 2, 1), 255, np.uint8)
    found = judge(
        {"student": by_pixel, "a.tflite": broken},
        iter([(ZEROS, None), (white, None)]),
        preprocessing="unit",
        reference="student",
    )
    assert np.isnan(found["a.tflite"].beside.max_abs_difference)
    assert found["student"].beside.max_abs_difference == 0
    (failed,) = with_test_set([SOUND], found, None)
    assert not failed.ok and failed.why == "differs by what is not finite on 4 test images"


def test_models_that_take_pixels_get_them():
    white = np.full((2, 2, 2, 1), 255, np.uint8)
    scaled = {"student": by_pixel, "file": lambda pixels: by_pixel(pixels / 255)}
    found = judge(
        scaled, iter([(white, None)]), preprocessing="unit", on_pixels=["file"], reference="student"
    )
    assert found["file"].beside.max_abs_difference == 0
    found = judge(scaled, iter([(white, None)]), preprocessing="unit", reference="student")
    assert found["file"].beside.max_abs_difference > 0.9


SOUND = Verification("a.tflite", 0.0, 0.0, 1.0, 0.1, 1.0, 4, {}, True, True, True, "")


def test_the_test_set_joins_the_verification_and_its_gate():
    judged = {"a.tflite": Judged(0.5, 0.5, beside=Comparison(0.1, 0.01, 0.96, 0.5, 200))}
    broken = dataclasses.replace(SOUND, name="b.tflite", ok=False, why="does not run")
    sound, other = with_test_set([SOUND, broken], judged, 0.95)
    assert sound.ok and sound.test == judged["a.tflite"].beside
    assert other == broken
    failed, _ = with_test_set([SOUND, broken], judged, 0.97)
    assert not failed.ok
    assert failed.why == (
        "agrees with the student on 96.00 % of 200 test images, less than --min_agreement=0.97"
    )
