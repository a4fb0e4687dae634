import json
import pathlib

import keras
import numpy as np
import pytest

from kgraft.data import open_source
from kgraft.data.npz_source import NpzSource
from kgraft.errors import KgraftError
from kgraft.teach import TeachConfig, loop, teach
from kgraft.zoo import build, load_teacher


def run(settings, **changes):
    lines = []
    result = teach(TeachConfig(**settings | changes), say=lines.append)
    return result, lines


def weights(settings):
    return keras.saving.load_model(settings["output"]).get_weights()


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_learns_an_easy_set_and_writes_file_and_report(settings):
    result, lines = run(settings, model="zoo:fashion_vgg", epochs=6)
    assert result.accuracy > 0.9
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    model = load_teacher(settings["output"]).model
    assert model.output_shape == (None, 2)
    source = open_source(settings["dataset"], split="test", channels=1)
    images = np.stack([image for image, _ in source.iterate()]).astype("float32")
    right = np.argmax(np.asarray(model(images, training=False)), -1) == source.labels
    assert np.mean(right) == pytest.approx(result.accuracy)
    report = json.loads((pathlib.Path(settings["workdir"]) / "teach.json").read_text())
    assert report["accuracy"] == result.accuracy
    assert report["class_names"] == ["top", "bottom"]
    assert report["settings"]["epochs"] == 6
    assert len(report["history"]) == 6
    assert "epoch 6/6: loss" in lines[-2]
    assert "0.0 min left" in lines[-2]
    assert "test accuracy" in lines[-1]


def test_leaves_only_its_files(settings):
    run(settings, epochs=1)
    output = pathlib.Path(settings["output"])
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    names = {path.name for path in pathlib.Path(settings["workdir"]).iterdir()}
    assert names == {"checkpoint.npz", "teach.json"}


def test_same_seed_same_weights(settings, tmp_path):
    settings |= {"model": "zoo:fashion_vgg", "epochs": 1}
    run(settings)
    first = weights(settings)
    other = settings | {"output": str(tmp_path / "b.keras"), "workdir": str(tmp_path / "b")}
    run(other)
    assert_same(weights(other), first)
    third = settings | {"output": str(tmp_path / "c.keras"), "workdir": str(tmp_path / "c")}
    run(third, seed=1)
    assert not np.array_equal(weights(third)[0], first[0])


def test_resumed_training_gives_the_weights_of_one_never_stopped(settings, tmp_path, monkeypatch):
    run(settings)
    assert (pathlib.Path(settings["workdir"]) / "checkpoint.npz").exists()
    for epoch in (0, 2):
        name = f"stopped{epoch}"
        names = {"output": str(tmp_path / f"{name}.keras"), "workdir": str(tmp_path / name)}
        check_stopped(settings, settings | names, epoch, monkeypatch)


def check_stopped(settings, other, epoch, monkeypatch):
    """A training stopped in an epoch and resumed has the weights of that of `settings`."""
    with monkeypatch.context() as patch:
        whole = loop._run_epoch

        def stop(*args, **kwargs):
            if kwargs["epoch"] == epoch:
                raise KeyboardInterrupt
            return whole(*args, **kwargs)

        patch.setattr(loop, "_run_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run(other)
    assert not pathlib.Path(other["output"]).exists()
    result, lines = run(other, resume=True)
    assert_same(weights(other), weights(settings))
    assert len(result.history) == 3
    assert any(f"resumed after epoch {epoch} of 3" in line for line in lines) == (epoch > 0)


def test_resuming_a_finished_training_tests_it_again(settings):
    first, _ = run(settings, epochs=1)
    before = weights(settings)
    again, _ = run(settings, epochs=1, resume=True)
    assert_same(weights(settings), before)
    assert again.accuracy == first.accuracy


def test_resume_needs_the_same_settings(settings):
    run(settings, epochs=1)
    with pytest.raises(KgraftError, match="of a training with --batch=16, not 8"):
        run(settings, epochs=1, batch=8, resume=True)


def test_resume_needs_the_same_images_and_classes(settings, tmp_path):
    for folder in ("a", "b"):
        for number in range(8):
            path = tmp_path / "images" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(path, np.full((8, 8, 1), 30 * number, "uint8"), scale=False)
    changes = {"dataset": f"folder:{tmp_path / 'images'}", "eval_split": None, "batch": 4}
    changes |= {"eval_dataset": None, "epochs": 1}
    run(settings, **changes)
    run(settings, **changes, resume=True)
    (tmp_path / "images" / "a" / "7.png").rename(tmp_path / "images" / "b" / "8.png")
    message = "is of a training on other labels or classes: resume with the data set as it was then"
    with pytest.raises(KgraftError, match=message):
        run(settings, **changes, resume=True)
    (tmp_path / "images" / "b" / "8.png").rename(tmp_path / "images" / "a" / "7.png")
    run(settings, **changes, resume=True)
    (tmp_path / "images" / "b").rename(tmp_path / "images" / "c")
    with pytest.raises(KgraftError, match=message):
        run(settings, **changes, resume=True)


def test_starts_from_a_file(settings, tmp_path):
    model = build("fashion_vgg", classes=2, input_shape=(8, 8, 1), seed=5)
    model.save(tmp_path / "start.keras")
    run(settings, model=str(tmp_path / "start.keras"), epochs=0)
    assert_same(weights(settings), model.get_weights())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_and_writes_float32(settings, precision):
    result, _ = run(settings, epochs=6, precision=precision)
    assert result.accuracy > 0.9
    model = load_teacher(settings["output"]).model
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


def test_label_smoothing_is_a_setting_of_the_loss(settings):
    result, _ = run(settings, epochs=1, label_smoothing=0.9, peak_rate=1e-6)
    # Nearly even targets: the loss cannot fall below their entropy of about ln 2.
    assert result.history[0]["loss"] > 0.6


def test_without_a_test_set(settings):
    result, lines = run(settings, epochs=1, eval_dataset=None)
    assert result.accuracy is None
    assert "test accuracy not tested" in lines[-1]


def test_test_images_that_cannot_be_decoded_are_left_out(settings, tmp_path):
    for label, folder in enumerate(("top", "bottom")):
        for number in range(3):
            path = tmp_path / "test" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(path, np.full((8, 8, 1), 90 * label, "uint8"), scale=False)
    path.write_bytes(b"broken")
    result, lines = run(settings, epochs=1, eval_dataset=f"folder:{tmp_path / 'test'}")
    assert 0 <= result.accuracy <= 1 and result.test_images_skipped == 1
    assert any(line.startswith("1 test images are left out: cannot decode") for line in lines)
    report = json.loads((pathlib.Path(settings["workdir"]) / "teach.json").read_text())
    assert report["test_images_skipped"] == 1


def test_diverging_loss_names_epoch_and_step(settings):
    with pytest.raises(KgraftError, match=r"loss is (nan|inf) in epoch \d at step \d+: lower"):
        run(settings, peak_rate=1e30, warmup=0.0)
    assert not pathlib.Path(settings["output"]).exists()


def nothing_written(settings):
    return not any(pathlib.Path(settings[key]).exists() for key in ("output", "workdir"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "zoo:lenet"}, "no network 'lenet' in the zoo"),
        ({"model": "missing.keras"}, "no teacher file missing.keras"),
        ({"dataset": "npz:missing.npz"}, "missing.npz"),
        ({"split": "validation"}, "has no split 'validation'"),
        ({"eval_split": "validation"}, "has no split 'validation'"),
        ({"batch": 100}, "--batch must be at most the 70 training images; got 100"),
    ],
)
def test_bad_input_writes_nothing(settings, changes, message):
    with pytest.raises(KgraftError, match=message):
        run(settings, **changes)
    assert nothing_written(settings)


def test_softmax_model_is_refused(settings, tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image))
    keras.Model(image, x).save(tmp_path / "softmax.keras")
    with pytest.raises(KgraftError, match="puts out probabilities; training needs logits"):
        run(settings, model=str(tmp_path / "softmax.keras"))
    assert nothing_written(settings)


def test_images_of_another_size_are_refused(settings, tmp_path):
    build("fashion_vgg", classes=2).save(tmp_path / "start.keras")
    with pytest.raises(KgraftError, match="8 x 8 x 1, but the teacher takes 28 x 28 x 1"):
        run(settings, model=str(tmp_path / "start.keras"))
    assert nothing_written(settings)


def test_test_set_of_other_classes_is_refused_before_training(settings, tmp_path):
    images = np.zeros((4, 8, 8, 1), np.uint8)
    names = np.array(["top", "left"])
    np.savez(tmp_path / "b.npz", images=images, labels=np.arange(4) % 2, class_names=names)
    with pytest.raises(KgraftError, match="class 'left' is not among"):
        run(settings, eval_dataset=f"npz:{tmp_path / 'b.npz'}")
    assert nothing_written(settings)


def test_a_test_set_of_training_images_is_refused(settings, easy_set, tmp_path):
    with np.load(easy_set) as arrays:
        np.savez(tmp_path / "one.npz", images=arrays["train_images"], labels=arrays["train_labels"])
    one, folder = f"npz:{tmp_path / 'one.npz'}", f"folder:{tmp_path / 'images'}"
    for name in ("bottom", "top"):
        (tmp_path / "images" / name).mkdir(parents=True)
        keras.utils.save_img(tmp_path / "images" / name / "0.png", np.zeros((8, 8, 1)))
    for changes in (
        {"eval_split": "train"},
        {"dataset": one, "eval_dataset": one},
        {"dataset": folder, "eval_dataset": f"{folder}/../images"},
    ):
        with pytest.raises(KgraftError, match="holds images that are trained on"):
            run(settings, **changes)
        assert nothing_written(settings)


def test_test_set_of_other_labels_is_refused_before_training(settings, tmp_path):
    images = np.zeros((4, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "b.npz", images=images, labels=np.arange(4) + 5)
    with pytest.raises(KgraftError, match=r"has labels 5\.\.8, but the model has 2 logits"):
        run(settings, eval_dataset=f"npz:{tmp_path / 'b.npz'}")
    assert nothing_written(settings)


def test_unlabelled_test_set_is_refused_before_training(settings, tmp_path):
    np.savez(tmp_path / "b.npz", images=np.zeros((4, 8, 8, 1), np.uint8))
    with pytest.raises(KgraftError, match="has no labels to measure accuracy with"):
        run(settings, eval_dataset=f"npz:{tmp_path / 'b.npz'}")
    assert nothing_written(settings)


def test_a_test_set_that_says_it_has_labels_and_has_none(settings, tmp_path, monkeypatch):
    """As ImageNet's test split: TFDS describes a label, and every one is -1."""
    monkeypatch.setattr(NpzSource, "has_labels", False)
    with pytest.raises(KgraftError, match="has no labels to measure accuracy with"):
        run(settings)
    assert nothing_written(settings)


def test_used_work_folder_is_refused(settings):
    workdir = pathlib.Path(settings["workdir"])
    workdir.mkdir()
    (workdir / "notes.txt").write_text("mine")
    with pytest.raises(KgraftError, match="--workdir must be new or empty"):
        run(settings)


def test_work_folder_that_is_a_file(settings):
    pathlib.Path(settings["workdir"]).write_text("mine")
    with pytest.raises(KgraftError, match="--workdir must be a folder"):
        run(settings)


def test_existing_output_is_kept(settings):
    output = pathlib.Path(settings["output"])
    output.parent.mkdir()
    output.write_text("mine")
    with pytest.raises(KgraftError, match="exists: move it away, or choose another"):
        run(settings)
    assert output.read_text() == "mine"


def test_output_below_a_file_is_refused(settings, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(KgraftError, match="--output: cannot write in"):
        run(settings, output=str(tmp_path / "file" / "teacher.keras"))


def test_resuming_in_the_wrong_folder_keeps_the_output(settings, tmp_path):
    run(settings, epochs=1)
    before = pathlib.Path(settings["output"]).read_bytes()
    other = str(tmp_path / "mistyped")
    message = "--resume: there is nothing in .*mistyped to go on with, and --output .* exists"
    with pytest.raises(KgraftError, match=message):
        run(settings, epochs=1, workdir=other, resume=True)
    assert pathlib.Path(settings["output"]).read_bytes() == before
    new = str(tmp_path / "new.keras")
    _, lines = run(settings, epochs=1, workdir=other, output=new, resume=True)
    told = f"--resume: there is nothing in {other} to go on with; starting from the beginning"
    assert told in lines


def test_resuming_does_not_replace_the_output_of_another_training(settings, tmp_path):
    run(settings, epochs=1)
    other = tmp_path / "other.keras"
    other.write_text("of another training")
    message = r"other\.keras exists, and the training in .*work writes .*teacher\.keras: give that"
    with pytest.raises(KgraftError, match=message):
        run(settings, epochs=1, output=str(other), resume=True)
    assert other.read_text() == "of another training"
    # Where there is nothing it may go, and is its own from then on.
    new = str(tmp_path / "new.keras")
    for _ in range(2):
        run(settings, epochs=1, output=new, resume=True)
    with pytest.raises(KgraftError, match=r"teacher\.keras exists, and .* writes .*new\.keras"):
        run(settings, epochs=1, resume=True)
