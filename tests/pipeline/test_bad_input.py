"""Bad input through the command line: one line, exit code not 0, and nothing written."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.cli import distill

ROOT = pathlib.Path(__file__).parents[2]


@keras.saving.register_keras_serializable("bad_input")
class HiddenGraph(keras.Model):
    """A model whose graph is hidden in its `call`."""

    def __init__(self, **options):
        super().__init__(**options)
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(4)

    def call(self, image):
        return self.head(self.pool(image))


def arguments(settings):
    def text(value):
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return [f"--{name}={text(value)}" for name, value in settings.items()]


def below(folder):
    return sorted(path for path in folder.rglob("*"))


@pytest.fixture
def refused(world, tmp_path, monkeypatch, capsys):
    """Runs the command with changed flags and returns the one line it ends with."""

    def refuse(*extra, code=1, **changes):
        changes = {"workdir": tmp_path / "new" / "run"} | changes
        given = [*arguments(world.flags(**changes)), *extra]
        before = below(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kgraft-distill", *given])
        with pytest.raises(SystemExit) as stop:
            distill.main()
        told = capsys.readouterr()
        assert stop.value.code == code, told.err
        assert below(tmp_path) == before
        return one_line(told.out, told.err)

    return refuse


def one_line(out, err):
    """The error, where the terminal shows nothing but it and the parts begun before it."""
    assert out == ""
    *parts, last, empty = err.split("\n")
    assert empty == "" and all(part.startswith("kgraft: ") for part in parts), err
    name, _, message = last.partition(": error: ")
    assert name == "kgraft-distill"
    return message


# The teacher.


def test_no_teacher_file(refused):
    message = refused(teacher="absent.keras")
    assert message.startswith("no teacher file absent.keras: expected a .keras or .h5 file, ")


def test_a_teacher_of_an_unknown_kind(refused):
    assert "a teacher is PATH.keras, embedded:NAME, zoo:NAME" in refused(teacher="model.onnx")


def test_an_unknown_zoo_teacher(refused):
    assert "fashion_vgg" in refused(teacher="zoo:fashion")


def test_a_teacher_that_is_no_keras_file(refused, tmp_path):
    path = tmp_path / "teacher.keras"
    path.write_text("not a model")
    message = refused(teacher=str(path))
    assert message.startswith(
        f"{path} cannot be read as a Keras model: expected a functional model"
    )
    assert "give it to kgraft.distill(teacher_model=...)" in message


def test_a_teacher_cut_short(refused, world, tmp_path):
    path = tmp_path / "teacher.keras"
    path.write_bytes(pathlib.Path(world.teacher).read_bytes()[:-2000])
    assert "cannot be read as a Keras model" in refused(teacher=str(path))


def test_a_subclassed_teacher(refused, tmp_path):
    path = tmp_path / "subclassed.keras"
    model = HiddenGraph()
    model(np.zeros((1, 16, 16, 3), "float32"))
    model.save(path)
    message = refused(teacher=str(path))
    assert "HiddenGraph whose graph cannot be seen: expected a functional model" in message


def test_a_teacher_of_two_outputs(refused, tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    path = tmp_path / "two.keras"
    keras.Model(image, [keras.layers.Dense(4)(x), keras.layers.Dense(4)(x)]).save(path)
    assert "1 inputs and 2 outputs; expected one image in and one vector" in refused(
        teacher=str(path)
    )


def test_probabilities_without_a_softmax_to_take_off(refused, tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Rescaling(0.0, 0.25, name="quarter")(keras.layers.Dense(4)(x))
    path = tmp_path / "quarters.keras"
    keras.Model(image, x).save(path)
    message = refused(teacher=str(path), teacher_cuts="conv")
    assert "'quarter') looks like probabilities" in message
    assert "--teacher_outputs=probabilities" in message and "--teacher_outputs=logits" in message


def test_an_unknown_cut(refused):
    message = refused(teacher_cuts="relu7")
    assert message.startswith("--teacher_cuts: the model has no layer 'relu7'. Nearest: relu")
    assert "Cuts: pixels, conv1, norm1, relu1, pool1, add2, relu2, conv3, pool3" in message


def test_a_cut_across_a_skip_connection(refused):
    message = refused(teacher_cuts="relu1,norm2")
    assert "no cut at 'norm2': 'pool1' is needed past it too (a skip connection)" in message
    assert "Cuts: " in message


def test_cuts_out_of_order(refused):
    assert "right would be relu1,relu2" in refused(teacher_cuts="relu2,relu1")


# The student.


@pytest.mark.parametrize(
    ("graft", "part"),
    [
        ("3", "block numbers from 0 to 2"),
        ("some", "block numbers from 0 to 2"),
        ("1,0-1", "block 1 is named twice"),
        ("0=width:2", "a ratio above 0 and up to 1"),
        ("0=own.keras", "own recipe must be width:RATIO, inner:RATIO, depth:N, drop or keep; got"),
        ("0=keep", "keeps every block"),
        ("", "block numbers from 0 to 2"),
    ],
)
def test_a_bad_graft(refused, graft, part):
    message = refused(graft=graft, code=2)
    assert part in message and "--graft" in message


@pytest.mark.parametrize(
    ("student", "part", "code"),
    [
        ("width:0", "expected width:RATIO with a ratio above 0 and up to 1, such as width:0.5", 2),
        ("width:half", "got 'width:half'", 2),
        ("keep", "keeps every block", 2),
        ("thin", "depth:N, drop or keep, or a Keras model; 'thin' is no recipe", 1),
        ("absent.keras", "no teacher file absent.keras", 1),
    ],
)
def test_a_bad_student(refused, student, part, code):
    message = refused(student=student, code=code)
    assert part in message and "--student" in message


@pytest.mark.parametrize(
    ("graft", "part"), [("1=depth:3", "--student: depth:3 "), ("2=depth:1", "--student: depth:1 ")]
)
def test_a_recipe_that_its_block_cannot_take(refused, graft, part):
    assert part in refused(graft=graft)


def test_a_preprocessing_for_other_images(refused, tmp_path):
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(image, x).save(tmp_path / "grey.keras")
    message = refused(teacher=tmp_path / "grey.keras", teacher_cuts="conv", preprocess="torch")
    assert "preprocess 'torch' expects RGB images, 3 channels; got 1" in message


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="XLA is for GPUs")
def test_xla_without_a_gpu(refused):
    assert "--xla is for GPUs" in refused("--xla")


def test_cuts_for_a_recipe(refused):
    assert "--student_cuts cut a student model" in refused(student_cuts="first")


def test_too_few_cuts_of_an_own_student(refused, world):
    message = refused(student=world.folder / "own.keras", student_cuts="first")
    assert "the teacher has 3 blocks, the student 2: give 2 cuts" in message


def test_an_unknown_cut_of_an_own_student(refused, world):
    message = refused(student=world.folder / "own.keras", student_cuts="first,last")
    assert message.startswith("--student_cuts: the model has no layer 'last'")


def test_cuts_of_an_own_student_at_another_size(refused, world):
    message = refused(student=world.folder / "own.keras", student_cuts="first,third")
    assert "at the teacher's 'relu2' the shape is (None, 8, 8, 8)" in message
    assert "'third' (None, 4, 4, 6)" in message


# The images.


def test_a_class_with_too_few_images(refused, folder):
    (folder / "blue" / "02.png").unlink()
    message = refused(dataset=f"folder:{folder}", shots=4)
    assert "class 'blue' has 3 readable images, fewer than --shots=4" in message
    assert "the largest possible is --shots=3" in message


def test_too_few_images_in_all(refused):
    assert "32 readable images, fewer than --images=33" in refused(shots="none", images=33)


def test_a_corrupt_image_stops_by_flag(refused, folder):
    (folder / "blue" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n spoilt")
    message = refused(dataset=f"folder:{folder}", shots=4, on_corrupt="stop")
    assert "cannot decode" in message and "02.png" in message and "--on_corrupt=skip" in message


def test_corrupt_images_leave_too_few(refused, folder):
    (folder / "blue" / "02.png").write_bytes(b"")
    message = refused(dataset=f"folder:{folder}", shots=4)
    assert "class 'blue' has 3 readable images" in message


def test_shots_of_images_without_labels(refused, folder):
    message = refused(dataset=f"folder:{folder / 'blue'}")
    assert "has no labels" in message and "give --images=N" in message


def save_images(tmp_path, *shape, **arrays):
    path = tmp_path / "images.npz"
    images = np.zeros(shape, np.uint8)
    np.savez(path, images=images, labels=np.arange(len(images)) % 4, **arrays)
    return f"npz:{path}"


def test_images_of_another_size(refused, tmp_path):
    message = refused(dataset=save_images(tmp_path, 12, 20, 20, 3))
    assert "20 x 20 x 3, but the teacher takes 16 x 16 x 3" in message
    assert "--resize=crop" in message


def test_images_of_other_channels(refused, tmp_path):
    message = refused(dataset=save_images(tmp_path, 12, 16, 16), resize="crop")
    assert "16 x 16 x 1, but the teacher takes 16 x 16 x 3" in message


def test_no_such_images(refused, tmp_path):
    assert "there is no folder" in refused(dataset=f"folder:{tmp_path / 'absent'}")
    assert "there is no file" in refused(dataset=f"npz:{tmp_path / 'absent.npz'}")
    assert "fashion_mnist" in refused(dataset="embedded:mnist")


def test_one_image_cannot_be_held_out_of_training(refused):
    message = refused(augment="none", shots="none", images=1)
    assert "needs at least 2; got 1" in message


def test_an_unprepared_tfds_set_without_download(refused, tmp_path):
    message = refused(dataset="tfds:mnist", data_dir=tmp_path)
    assert f"tfds:mnist is not prepared in {tmp_path}" in message
    assert "--data_dir" in message and "--download" in message


# The test set of the report.


def test_a_test_set_without_labels(refused, folder):
    message = refused(eval_dataset=f"folder:{folder / 'blue'}")
    assert "has no labels to report accuracy by: give a labelled test set, or none" in message


def test_a_test_set_of_another_size(refused, tmp_path):
    message = refused(eval_dataset=save_images(tmp_path, 12, 20, 20, 3))
    assert "an image of --eval_dataset=npz:" in message and "20 x 20 x 3" in message


def test_a_test_class_without_a_logit(refused, folder):
    (folder / "blue").rename(folder / "violet")
    message = refused(eval_dataset=f"folder:{folder}")
    assert "class 'violet' is not among the 4 labels of the teacher" in message


def test_test_classes_that_nothing_maps_to_logits(refused, folder):
    for image in (folder / "blue").iterdir():
        image.rename(folder.parent / image.name)
    (folder / "blue").rmdir()
    path = save_images(folder.parent, 12, 16, 16, 3)
    message = refused(dataset=path, eval_dataset=f"folder:{folder}")
    assert "has 3 classes, the teacher 4 logits: give --labels=FILE" in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"red\ngreen\n", "one name for each of the 4 logits, one a line; it has 2"),
        (b"\xff\xfe\x00red", "it is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_bad_labels_file(refused, tmp_path, content, part):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    message = refused(labels=path)
    assert message.startswith("--labels") and str(path) in message and part in message


def test_a_class_name_of_two_lines(refused, world, tmp_path):
    with np.load(world.npz.removeprefix("npz:")) as arrays:
        changed = {**arrays, "class_names": ["red", "green\nish", "blue", "yellow"]}
    np.savez(tmp_path / "named.npz", **changed)
    message = refused(dataset=f"npz:{tmp_path / 'named.npz'}")
    assert message == "a label must be one line; got 'green\\nish'"


# The work folder.


def test_a_work_folder_with_files(refused, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = refused(workdir=tmp_path)
    assert "must be new or empty" in message and "--resume" in message


def test_a_work_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "run").write_text("mine")
    assert "--workdir must be a folder" in refused(workdir=tmp_path / "run")
    assert "Not a directory" in refused(workdir=tmp_path / "run" / "below")
    message = refused(workdir="/proc/kgraft")
    assert message.startswith("--workdir must be a folder that can be written to")


# Flags.


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--bogus=1"], "Unknown command line flag 'bogus'"),
        (["--augment=rotate"], "--augment must be one of none, crop_flip, imagenet; got 'rotate'"),
        (["--loss=l1"], "--loss must be one of normalized_mse, mse, kl; got 'l1'"),
        (["--formats=float32,coreml"], "--formats must be one of saved_model, float32"),
        (["--strategy=tpu"], "--strategy must be one of auto, one_device"),
        (["--steps=many"], "expected one whole number, or two"),
        (["--steps=-1"], "--steps must be at least 0; got -1"),
        (["--dataset=images"], "--dataset must be tfds:NAME, folder:PATH, npz:PATH or embedded"),
        (["--seed=-1"], "--seed must be from 0 to 4294967295; got -1"),
        (["--shots=0"], "--shots must be at least 1; got 0"),
        (["--shots=none"], "give --shots (images a class) or --images (in all)"),
        (["--block_rate=nan"], "expected a finite number"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_bad_flag(refused, flags, part):
    assert part in refused(*flags, code=2)


# As a user starts it, with all that TensorFlow and the data sets print by themselves.


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"on_corrupt": "stop", "shots": 4}, "give --on_corrupt=skip"),
        ({"dataset": "tfds:mnist", "data_dir": "."}, "give --download to let TFDS"),
    ],
    ids=["corrupt", "tfds"],
)
def test_the_real_command_says_one_line(world, folder, tmp_path, changes, part):
    (folder / "blue" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n spoilt")
    spoilt = {"dataset": f"folder:{folder}", "workdir": str(tmp_path / "run")}
    given = world.flags(**spoilt | changes)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    before = below(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "kgraft.cli.distill", *arguments(given)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert part in one_line(done.stdout, done.stderr)
    assert below(tmp_path) == before
