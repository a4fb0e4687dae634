import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.data import open_source
from kgraft.errors import KgraftError
from kgraft.export import export_student
from kgraft.pipeline import evaluation, transfer
from kgraft.pipeline.evaluation import (
    Judged,
    judge,
    measure_files,
    report_batches,
    saved_model_logits,
)

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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    x = keras.Input((8, 8, 1))
    y = keras.layers.Conv2D(4, 3, activation="relu")(x)
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(y)))
    folder = tmp_path_factory.mktemp("exported")
    return model, export_student(model, folder=folder, formats=("saved_model", "float32"))


def test_a_saved_model_takes_many_images_one_at_a_time(exported):
    path = exported[1][0].path
    images = np.random.default_rng(0).random((9, 8, 8, 1), np.float32)
    serve = tf.saved_model.load(path).signatures["serving_default"]
    alone = [serve(image=tf.constant(image[None]))["logits"].numpy() for image in images]
    found = saved_model_logits(path)(images)
    assert found.shape == (9, 3)
    np.testing.assert_array_equal(found, np.concatenate(alone))


def test_the_student_is_not_converted_twice(exported, monkeypatch):
    model, files = exported
    converted = []
    convert = evaluation.float32_bytes

    def spied(model):
        converted.append(model)
        return convert(model)

    monkeypatch.setattr(evaluation, "float32_bytes", spied)
    teacher = keras.models.clone_model(model)
    sizes, latencies = measure_files({"teacher": teacher, "student": model}, files, [])
    assert converted == [teacher]
    assert sizes["student"] == sizes["student_float32.tflite"]
    assert latencies.keys() == {"teacher", "student", "student_float32.tflite"}
    measure_files({"student": model}, (), [])
    assert converted == [teacher, model]
