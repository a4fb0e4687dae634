"""`distill` as Python code calls it."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from small_models import CLASSES, SHAPE, small_model

from kgraft import KgraftError, RunConfig, distill
from kgraft.pipeline import exporting

QUICK = {
    "graft": "1",
    "shots": 2,
    "views": 4,
    "steps": (0, 0),
    "strategy": "one_device",
    "formats": (),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, [20, *SHAPE], np.uint8)
    np.savez(path, images=images, labels=np.arange(20) % CLASSES)
    return f"npz:{path}"


@pytest.mark.parametrize("name", [pytest.param("depthwise", marks=pytest.mark.slow), "nested"])
def test_a_loaded_model_and_flags_as_keywords(name, dataset, tmp_path):
    teacher = small_model(name)
    before = [np.asarray(v).copy() for v in teacher.weights]
    result = distill(
        teacher_model=teacher,
        teacher_cuts=2,
        dataset=dataset,
        preprocess="unit",
        workdir=str(tmp_path / "run"),
        **QUICK,
    )
    for old, new in zip(before, teacher.weights, strict=True):
        assert np.array_equal(old, np.asarray(new))
    assert result.student.input_shape == (None, *SHAPE)
    assert result.student.output_shape == (None, CLASSES)
    rows = {row.name: row for row in result.report.models}
    assert (
        rows["student"].parameters
        < rows["teacher"].parameters
        == teacher.count_params()
        - sum(int(np.prod(v.shape)) for v in teacher.non_trainable_variables if "moving" in v.path)
    )
    assert result.report.flags["teacher"]["source"] == "in memory"
    assert result.table.splitlines()[2].startswith("teacher")
    assert (result.workdir / "report.json").exists()


def test_a_softmax_teacher_gives_a_student_of_logits(dataset, tmp_path):
    logits = small_model("plain")
    teacher = keras.Model(logits.input, keras.layers.Softmax(name="softmax")(logits.output))
    config = RunConfig.from_flags(
        teacher="softmax.keras",
        teacher_cuts=2,
        dataset=dataset,
        preprocess="unit",
        student="width:1",
        precision="float32",
        workdir=str(tmp_path / "run"),
        **QUICK,
    )
    result = distill(config, teacher_model=teacher)
    images = np.random.default_rng(1).random([8, *SHAPE], np.float32)
    student = result.student.predict(images, verbose=0)
    np.testing.assert_allclose(student, logits.predict(images, verbose=0), atol=1e-4)
    assert "softmax 'softmax' taken off" in result.report.evaluation


def binary_teacher(images):
    """Tells dark images from bright ones, by one sigmoid that is in the middle of these."""
    kl = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = kl.Conv2D(8, 3, padding="same", activation="relu", name="conv")(image)
    x = kl.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    logit = kl.Dense(1, name="out")(kl.GlobalAveragePooling2D(name="pool")(x))
    raw = keras.Model(image, logit)
    said, (kernel, _) = raw.predict(images, verbose=0), raw.get_layer("out").get_weights()
    scale = 3 / said.std() * np.sign(np.corrcoef(said[:, 0], images.mean((1, 2, 3)))[0, 1])
    raw.get_layer("out").set_weights([kernel * scale, np.array([-np.median(said) * scale])])
    return keras.Model(image, kl.Activation("sigmoid", name="sigmoid")(logit))


def test_a_binary_teacher_gives_a_student_of_two_logits(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    light = rng.normal(100 + 40 * labels, 30)[:, None, None, None]
    images = np.clip(rng.normal(light, 40, [80, *SHAPE]), 0, 255).astype(np.uint8)
    teacher = binary_teacher(images / np.float32(255))
    parts = {"train": slice(40), "test": slice(40, None)}
    arrays = {f"{name}_images": images[part] for name, part in parts.items()}
    arrays |= {f"{name}_labels": labels[part] for name, part in parts.items()}
    path = tmp_path / "two.npz"
    np.savez(path, **arrays, class_names=np.array(["dark", "bright"]))
    result = distill(
        teacher_model=teacher,
        teacher_cuts=("conv",),
        dataset=f"npz:{path}",
        eval_dataset=f"npz:{path}",
        preprocess="unit",
        workdir=str(tmp_path / "run"),
        **QUICK | {"graft": "0-1", "steps": (4, 4), "mixed_views": 0, "formats": ("float32",)},
    )
    assert result.student.output_shape == (None, 2)
    pixels, wanted = images[40:] / np.float32(255), labels[40:]
    named = teacher.predict(pixels, verbose=0)[:, 0] > 0.5
    answers = result.student.predict(pixels, verbose=0).argmax(axis=1)
    rows = {row.name: row for row in result.report.models}
    assert 0.6 < rows["teacher"].accuracy == np.mean(named == wanted) < 1
    assert rows["student"].accuracy == np.mean(answers == wanted)
    assert rows["student"].agreement == np.mean(answers == named)
    assert "sigmoid 'sigmoid' taken off, and of the logit z made two" in result.report.evaluation
    assert (tmp_path / "run/export/labels.txt").read_text("utf-8").split() == ["dark", "bright"]


def test_exports_that_fail_their_verification_are_reported_first(dataset, tmp_path, monkeypatch):
    verify = exporting.verify_exports

    def fail(*arguments, **settings):
        differs, broken = verify(*arguments, **settings)
        return (
            dataclasses.replace(differs, ok=False, why="differs"),
            dataclasses.replace(broken, ok=False, why="does not run", max_abs_difference=None),
        )

    monkeypatch.setattr(exporting, "verify_exports", fail)
    why = r"student_float32\.tflite: differs; student_float16\.tflite: does not run"
    with pytest.raises(KgraftError, match=why):
        distill(
            teacher_model=small_model("plain"),
            teacher_cuts=2,
            dataset=dataset,
            workdir=str(tmp_path / "run"),
            **QUICK | {"formats": ("float32", "float16")},
        )
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [check["ok"] for check in report["verification"]] == [False, False]
    rows = {row["name"]: row for row in report["models"]}
    assert rows["student_float32.tflite"]["agreement"] is not None
    assert rows["student_float16.tflite"]["agreement"] is None
    assert rows["student_float16.tflite"]["latency_ms"] is None


def test_a_subclassed_model_is_refused_before_anything_is_written(dataset, tmp_path):
    class Hidden(keras.Model):
        def call(self, image):
            return keras.ops.mean(image, axis=(1, 2))

    with pytest.raises(KgraftError, match="expected a functional model"):
        distill(teacher_model=Hidden(), dataset=dataset, workdir=str(tmp_path / "run"), **QUICK)
    assert not (tmp_path / "run").exists()


def squashed(x):
    """An activation of the user's own."""
    return keras.ops.tanh(x) * 2


def with_layer(op):
    """A teacher that goes through a layer without weights in its middle."""
    kl = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = op(kl.Conv2D(8, 3, padding="same", name="conv")(image))
    x = kl.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    return keras.Model(image, kl.Dense(CLASSES)(kl.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("op", "advice"),
    [
        (keras.layers.Lambda(squashed, name="own"), "in place of a Lambda a layer such as Rescal"),
        (keras.layers.Lambda(lambda x: x * 2, name="own"), "in place of a Lambda a layer such as"),
        (keras.layers.Activation(squashed, name="own"), "class or function of your own registered"),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_layers_that_no_file_gives_back_are_refused_first(op, advice, resume, dataset, tmp_path):
    workdir = str(tmp_path / "run")
    with pytest.raises(KgraftError, match="the teacher's layer own cannot be copied") as caught:
        distill(
            teacher_model=with_layer(op), dataset=dataset, workdir=workdir, resume=resume, **QUICK
        )
    assert advice in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_registered_function_goes_all_the_way_and_is_gone_on_with(dataset, tmp_path):
    settings = {
        "teacher_model": with_layer(keras.layers.Activation(squashed, name="own")),
        "teacher_cuts": ("own",),
        "dataset": dataset,
        "workdir": str(tmp_path / "run"),
        **QUICK | {"graft": "0-1", "formats": ("float32",)},
    }
    pixels = np.random.default_rng(1).uniform(0, 255, [8, *SHAPE]).astype("float32")
    with keras.saving.custom_object_scope({"squashed": squashed}):
        made = distill(**settings).student.predict(pixels, verbose=0)
        again = distill(**settings, resume=True).student.predict(pixels, verbose=0)
        loaded = keras.saving.load_model(tmp_path / "run" / "student.keras")
    np.testing.assert_array_equal(again, made)
    np.testing.assert_array_equal(loaded.predict(pixels, verbose=0), made)


def test_unknown_and_missing_keywords_are_named():
    with pytest.raises(KgraftError, match="unknown settings: shot; they are named as the flags"):
        distill(teacher="a.keras", dataset="folder:images", shot=3)
    with pytest.raises(KgraftError, match="dataset is missing"):
        distill(teacher="a.keras")
    with pytest.raises(KgraftError, match="teacher is missing"):
        distill(dataset="folder:images")
