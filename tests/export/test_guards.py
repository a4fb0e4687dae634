import keras
import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.export import export_student
from kgraft.export.guards import check_folder, check_labels, image_shape


def test_unknown_format(student, tmp_path):
    with pytest.raises(KgraftError, match=r"among saved_model, float32, .*got 'int4'"):
        export_student(student, folder=tmp_path, formats=["int4"])


def test_format_given_twice(student, tmp_path):
    with pytest.raises(KgraftError, match="names a format twice: int8, int8"):
        export_student(student, folder=tmp_path, formats=["int8", "int8"])


@pytest.mark.parametrize("name", ["int8", "int16x8"])
def test_whole_numbers_without_images(student, images, tmp_path, name):
    message = f"the {name} file needs calibration images; got none: give some or drop {name}"
    for calibration in (None, images[:0]):
        with pytest.raises(KgraftError, match=message):
            export_student(student, folder=tmp_path, formats=[name], calibration=calibration)


def test_a_folder_with_other_things_is_not_replaced(student, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(KgraftError, match=r"holds 'thesis\.txt', which is not from an export"):
        export_student(student, folder=tmp_path, formats=["float32"])
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["labels.txt", "report.json", "saved_model"])
def test_a_folder_of_the_users_own_is_not_replaced(student, tmp_path, name):
    (tmp_path / name).mkdir() if name == "saved_model" else (tmp_path / name).write_text("mine")
    message = f"holds '{name}' but no SHA256SUMS or preprocess.json, so it is not from an export"
    with pytest.raises(KgraftError, match=message):
        export_student(student, folder=tmp_path, formats=["float32"])
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "left", [".report.json.partial", ".report.host.12.part.md", ".DS_Store", "Thumbs.db"]
)
def test_what_a_killed_write_or_a_file_manager_left_is_no_hindrance(student, tmp_path, left):
    export_student(student, folder=tmp_path, formats=["float32"])
    (tmp_path / left).write_text("")
    check_folder(tmp_path)
    export_student(student, folder=tmp_path, formats=["float32"])
    assert not (tmp_path / left).exists()


def test_hidden_files_of_the_user_count(tmp_path):
    (tmp_path / ".secret").write_text("mine")
    with pytest.raises(KgraftError, match=r"holds '\.secret', which is not from an export"):
        check_folder(tmp_path)


def test_images_that_are_not_finite(student, images, tmp_path):
    broken = images.copy()
    broken[3, 0, 0, 0] = np.nan
    with pytest.raises(KgraftError, match="must be finite"):
        export_student(student, folder=tmp_path, formats=["int8"], calibration=broken)


def test_images_of_another_shape(student, tmp_path):
    with pytest.raises(KgraftError, match="conv takes images of 12x12x3; got 12x12x1"):
        image_shape(student, np.zeros((2, 12, 12, 1)))
    with pytest.raises(KgraftError, match="got 12x12"):
        image_shape(student, np.zeros((2, 12, 12)))


def test_images_fix_an_open_shape():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    assert image_shape(model, np.zeros((2, 7, 9, 3))) == (7, 9, 3)


def test_a_model_that_is_no_image_classifier():
    vector = keras.Input((4,))
    flat = keras.Model(vector, keras.layers.Dense(3)(vector), name="flat")
    image = keras.Input((4, 4, 3))
    both = keras.Model(image, [keras.layers.Flatten()(image)] * 2, name="both")
    for model in (flat, both):
        with pytest.raises(KgraftError, match=f"from one image .* got {model.name}"):
            image_shape(model)


def test_labels():
    check_labels(None, 3)
    check_labels(["a", "", "c d"], 3)
    with pytest.raises(KgraftError, match="3 logits; got 2 labels"):
        check_labels(["a", "b"], 3)
    with pytest.raises(KgraftError, match="must be one line"):
        check_labels(["a\nb", "c", "d"], 3)
