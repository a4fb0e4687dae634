import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.data import open_source
from kgraft.export import export_student
from kgraft.pipeline import evaluation, test_set, transfer
from kgraft.pipeline.evaluation import measure_files, report_batches, saved_model_logits

ZEROS = np.zeros((3, 2, 2, 1), np.uint8)


def transfer_of(heldout):
    owners = np.arange(len(heldout))
    return transfer.Transfer(None, (16, 16, 3), "none", heldout, owners, heldout, "")


def test_the_heldout_views_stand_in_for_a_test_set():
    heldout = np.zeros((70, 16, 16, 3), np.uint8)
    batches = list(report_batches(transfer_of(heldout), None, None, []))
    assert [len(images) for images, _ in batches] == [64, 6]
    assert all(labels is None for _, labels in batches)


def test_test_images_that_cannot_be_read_are_counted(folder):
    (folder / "blue" / "02.png").write_bytes(b"spoilt")
    skipped = []
    test = test_set.TestSet(open_source(f"folder:{folder}"), "crop")
    names = ("yellow", "red", "green", "blue")
    batches = list(report_batches(transfer_of(ZEROS), test, names, skipped))
    labels = np.concatenate([labels for _, labels in batches])
    # Sub-folders in the order of their names: blue, green, red, yellow.
    assert labels.tolist() == [3] * 3 + [2] * 4 + [1] * 4 + [0] * 4
    assert [entry.what for entry in skipped] == ["test image"] and "02.png" in skipped[0].why


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


def test_teacher_and_student_are_measured_alike(exported):
    model, files = exported
    twin = keras.models.clone_model(model)
    sizes, latencies = measure_files({"teacher": twin, "student": model}, files, [])
    assert sizes["teacher"] == sizes["student"] == len(evaluation.float32_bytes(model))
    # The file has metadata beside the model.
    assert sizes["student_float32.tflite"] > sizes["student"]
    assert latencies.keys() == {"teacher", "student", "student_float32.tflite"}
