import keras
import numpy as np
import pytest

from kgraft.config import StudentConfig, TeacherConfig
from kgraft.errors import KgraftError
from kgraft.pipeline.teacher import open_own_student, open_teacher


def test_a_file_is_opened_and_cut(world):
    teacher = open_teacher(TeacherConfig(world.teacher, ("relu1", "relu2"), preprocess="tf"))
    assert [block.exit_cut for block in teacher.chain.blocks] == ["relu1", "relu2", "logits"]
    assert (teacher.preprocess, teacher.classes) == ("tf", 4)
    assert teacher.logits_note == "the output is logits"


def test_a_loaded_model_takes_pixels_as_they_are(world):
    model = keras.saving.load_model(world.teacher)
    teacher = open_teacher(TeacherConfig("unused.keras", cuts=1), model)
    assert teacher.chain.cuts == () and teacher.preprocess == "none"
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(
        np.asarray(teacher.chain.graph(images)), model.predict(images, verbose=0), rtol=1e-5
    )


def test_a_count_prefers_cuts_where_adapters_fold(world):
    teacher = open_teacher(TeacherConfig(world.teacher, cuts=3))
    assert len(teacher.chain.blocks) == 3
    # The activations feed a pooling or an addition, which take no adapter in.
    assert not {"relu1", "pool1"} & set(teacher.chain.cuts)


def test_weights_that_are_not_finite_are_named(world):
    model = keras.saving.load_model(world.teacher)
    layer = next(layer for layer in model.layers if layer.weights)
    weights = layer.get_weights()
    weights[0].flat[3] = np.nan
    layer.set_weights(weights)
    message = f"the teacher's layer {layer.name} has weights that are not finite"
    with pytest.raises(KgraftError, match=message):
        open_teacher(TeacherConfig("unused.keras", cuts=1), model)


def test_one_logit_is_no_classifier(world):
    x = keras.Input((16, 16, 3))
    y = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(KgraftError, match="the teacher has one logit"):
        open_teacher(TeacherConfig("unused.keras", cuts=1), keras.Model(x, y))


def test_a_recipe_is_no_model(world):
    teacher = open_teacher(TeacherConfig(world.teacher, ("relu1",)))
    assert open_own_student(StudentConfig("width:0.5"), teacher, seed=0) is None
    assert open_own_student(StudentConfig("keep", graft="0=width:0.5"), teacher, seed=0) is None
    with pytest.raises(KgraftError, match=r"--student=width:0\.5 is a recipe"):
        open_own_student(StudentConfig("width:0.5", ("first",)), teacher, seed=0)


def test_a_student_of_the_users_own_is_cut_at_its_own_cuts(world):
    teacher = open_teacher(TeacherConfig(world.teacher, ("relu1", "relu2")))
    own = open_own_student(
        StudentConfig(str(world.folder / "own.keras"), ("first",)), teacher, seed=0
    )
    assert own.cuts == ("first",) and own.graph.output_shape == (None, 4)
