import keras
import numpy as np
import pytest
from small_models import assert_close, conv, images, trained
from student_cases import student_of

from kgraft.config import StudentConfig, TeacherConfig
from kgraft.errors import KgraftError
from kgraft.export import TFLiteRunner, float32_bytes
from kgraft.grafting import fuse
from kgraft.grafting.fold import can_absorb_at
from kgraft.grafting.span import run_student
from kgraft.graph import as_model, find_cuts, run_calls, total_macs
from kgraft.pipeline.teacher import open_own_student, open_teacher
from kgraft.students.ridge import NormalEquations


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


def macs_of_blocks(chain):
    return [total_macs(block.graph) for block in chain.blocks]


def test_a_network_of_few_layers_has_fewer_blocks_than_asked_for(capsys):
    """The convnet of keras.io: what lies between its layers are no blocks of their own."""
    kl = keras.layers
    teacher = keras.Sequential([
        keras.Input((28, 28, 1)),
        kl.Conv2D(32, 3, activation="relu", name="conv1"),
        kl.MaxPooling2D(name="pool1"),
        kl.Conv2D(64, 3, activation="relu", name="conv2"),
        kl.MaxPooling2D(name="pool2"),
        kl.Flatten(),
        kl.Dropout(0.5),
        kl.Dense(10, activation="softmax", name="out"),
    ])
    chain = open_teacher(TeacherConfig("unused.keras"), teacher).chain
    # Of the cuts that cost the same, those where an adapter folds.
    assert chain.cuts == ("pool1", "pool2")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "kgraft: cutting the teacher into 3 of 5 blocks: more of them would have no multiply-adds",
        "kgraft: cutting the teacher at pool1, pool2: 8.0%, 91.4%, 0.7% of its multiply-adds",
    ]


def test_cuts_that_are_named_are_not_told_of(world, capsys):
    open_teacher(TeacherConfig(world.teacher, ("relu1", "relu2"), preprocess="tf"))
    assert capsys.readouterr().err == ""


def test_no_block_is_nearly_all_for_the_sake_of_foldable_cuts():
    """Adapters fold in front of the first convolution and behind the last sum, where nothing is."""
    kl = keras.layers
    image = keras.Input((12, 12, 3))
    x = conv(kl.Rescaling(1 / 127.5, -1, name="pixels")(image), 4, 1, name="stem")
    for index in range(4):
        y = conv(kl.ReLU()(x), 4, name=f"unit{index}_conv")
        x = kl.Add(name=f"unit{index}")([x, y])
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    x = kl.Dense(4, name="out")(kl.Dropout(0.2, name="drop")(x))
    teacher = keras.Model(image, x)
    graph = open_teacher(TeacherConfig("unused.keras", cuts=1), teacher).chain.graph
    foldable = [cut for cut in find_cuts(graph) if can_absorb_at(graph, cut)]
    assert foldable == ["pixels", "unit3", "pool", "drop"]
    for count in (2, 4):
        shares = macs_of_blocks(
            open_teacher(TeacherConfig("unused.keras", cuts=count), teacher).chain
        )
        assert len(shares) == count and max(shares) < 1.2 * sum(shares) / count


def test_foldable_cuts_are_taken_where_they_are_nearly_as_even():
    image = keras.Input((12, 12, 3))
    x = conv(conv(image, 4, name="a"), 4, name="b")
    x = conv(keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x), 4, name="c")
    x = keras.layers.Dense(4, name="out")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    chain = open_teacher(TeacherConfig("unused.keras", cuts=2), keras.Model(image, x)).chain
    # Behind b the halves are 36 and 26 thousand, but the depthwise takes no adapter in.
    assert chain.cuts == ("depthwise",)
    assert [count // 1000 for count in macs_of_blocks(chain)] == [41, 20]


def test_a_teacher_of_layers_that_count_no_multiply_adds_is_cut_all_the_same():
    x = image = keras.Input((8, 8, 3))
    for name in ("a", "b"):
        x = keras.layers.AveragePooling2D(2, name=name)(x)
    x = keras.layers.Flatten(name="flat")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    chain = open_teacher(TeacherConfig("unused.keras", cuts=3), keras.Model(image, x)).chain
    assert len(chain.blocks) == 3


def test_a_teacher_of_one_layer_is_one_block():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Dense(4, name="out")(keras.layers.GlobalAveragePooling2D(name="pool")(image))
    chain = open_teacher(TeacherConfig("unused.keras"), keras.Model(image, x)).chain
    assert chain.cuts == ()


def test_weights_that_are_not_finite_are_named(world):
    model = keras.saving.load_model(world.teacher)
    layer = next(layer for layer in model.layers if layer.weights)
    weights = layer.get_weights()
    weights[0].flat[3] = np.nan
    layer.set_weights(weights)
    message = f"the teacher's layer {layer.name} has weights that are not finite"
    with pytest.raises(KgraftError, match=message):
        open_teacher(TeacherConfig("unused.keras", cuts=1), model)


def single(activation):
    """A network of one output, on images as the small teacher's."""
    x = keras.Input((16, 16, 3))
    y = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(x, keras.layers.Dense(1, activation, name="out")(y))


def test_one_logit_has_to_be_told():
    config = TeacherConfig("unused.keras", cuts=1)
    with pytest.raises(KgraftError, match="it may be a regression; give --teacher_outputs=logits"):
        open_teacher(config, single("linear"))
    told = TeacherConfig("unused.keras", cuts=1, outputs="logits")
    for teacher in (open_teacher(told, single("linear")), open_teacher(config, single("sigmoid"))):
        assert teacher.classes == 2
        assert teacher.logits_note.endswith("made two, 4 - z/2 and 4 + z/2")


def test_a_student_of_one_sigmoid_gets_two_logits(tmp_path):
    teacher = open_teacher(TeacherConfig("unused.keras", cuts=1), single("sigmoid"))
    path = tmp_path / "own.keras"
    single("sigmoid").save(path)
    own = open_own_student(StudentConfig(str(path)), teacher, seed=0)
    assert own.graph.output_shape == (None, 2)
    single("linear").save(path)
    message = r"--student=.*own\.keras must put out .*, or in one sigmoid, of which two logits are"
    with pytest.raises(KgraftError, match=message):
        open_own_student(StudentConfig(str(path)), teacher, seed=0)


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


def flattened_teacher():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Flatten(name="flat")(x))
    x = keras.layers.Dense(32, activation="relu", name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(4, name="out")(x))


def test_no_cut_is_chosen_where_many_places_are_laid_flat():
    teacher = open_teacher(TeacherConfig("unused.keras", cuts=4), flattened_teacher())
    assert teacher.chain.cuts == ("conv", "conv2", "hidden")
    message = "'norm' has the 16x16x8 values of 'conv2' laid flat, .* two of them: cut at 'conv2'"
    with pytest.raises(KgraftError, match=message):
        open_teacher(TeacherConfig("unused.keras", cuts=("norm",)), flattened_teacher())


def test_a_map_that_cannot_be_cut_at():
    image = keras.Input((4, 4, 3))
    hidden = keras.layers.Dense(8)(keras.layers.Flatten(name="flat")(image))
    model = keras.Model(image, keras.layers.Dense(4)(hidden))
    with pytest.raises(KgraftError, match="for every two of them: leave it out"):
        open_teacher(TeacherConfig("unused.keras", cuts=("flat",)), model)


class Needy(keras.layers.Layer):
    """Says nothing of what it needs to be made again."""

    def __init__(self, needed, **options):
        super().__init__(**options)
        self.scale = self.add_weight(shape=())

    def call(self, x):
        return x * self.scale


def test_a_layer_that_cannot_be_copied():
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(Needy(len, name="own")(image))
    model = keras.Model(image, keras.layers.Dense(4)(x))
    message = r"layer own cannot be copied: expected one that Needy\.from_config makes again from"
    with pytest.raises(KgraftError, match=message) as caught:
        open_teacher(TeacherConfig("unused.keras", cuts=1), model)
    assert "\n" not in str(caught.value)
    assert "(Object Needy was created by" in str(caught.value)
    advice = "each class or function of your own registered by keras.saving.register_keras_serial"
    assert advice in str(caught.value)


def test_more_blocks_than_there_are_cuts_elsewhere():
    """A network of dense layers has few, and in front of the first nothing costs."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(16, activation="relu", name="a")(
        keras.layers.Flatten(name="flat")(image)
    )
    x = keras.layers.Dense(16, activation="relu", name="b")(x)
    teacher = keras.Model(image, keras.layers.Dense(4, name="out")(x))
    for count in (3, 4, 9):
        chain = open_teacher(TeacherConfig("unused.keras", cuts=count), teacher).chain
        assert chain.cuts == ("a", "b")


def test_a_student_of_several_classes_an_image(world, tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(image)
    keras.Model(image, keras.layers.Dense(4, "sigmoid")(x)).save(tmp_path / "own.keras")
    teacher = open_teacher(TeacherConfig(world.teacher, ("relu1",)))
    with pytest.raises(KgraftError, match=r"--student=.*own\.keras must put out logits, \[batch"):
        open_own_student(StudentConfig(str(tmp_path / "own.keras"), ("pooled",)), teacher, seed=0)


def separable_teacher():
    """Units as Xception has them, and a layer whose spectrum was normalised in training."""
    image = keras.Input((12, 12, 3))
    stem = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="inside")
    x = keras.layers.SpectralNormalization(stem, name="stem")(image)
    for index, width in enumerate((16, 16)):
        y = x
        for part in "ab":
            y = keras.layers.SeparableConv2D(
                width, 3, padding="same", use_bias=False, name=f"unit{index}_{part}"
            )(y)
            y = keras.layers.BatchNormalization(name=f"unit{index}_{part}_norm")(y)
            y = keras.layers.ReLU(name=f"unit{index}_{part}_relu")(y)
        x = keras.layers.Add(name=f"unit{index}")([conv(x, width, 1, name=f"short{index}"), y])
    x = keras.layers.SeparableConv2D(16, 3, activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return trained(keras.Model(image, keras.layers.Dense(5, name="logits")(x)))


@pytest.mark.parametrize("start", ["random", "teacher"])
def test_separable_and_spectrally_normalised_layers_are_thinned(start):
    model, x = separable_teacher(), images(8)
    chain = open_teacher(TeacherConfig("unused.keras", cuts=("stem", "unit0", "last")), model).chain
    assert_close(chain.graph(x), np.asarray(model(x, training=False)))
    student = student_of(chain, start=start)
    assert [block.notes for block in student] == [()] * 4
    fused = fuse(student)
    assert not fused.norms_left
    # The 1x1 kernels, which are nearly all of it, have half the rows and half the columns.
    assert fused.graph.parameters < 0.4 * chain.graph.parameters
    wanted = np.asarray(run_student(student, x))
    assert_close(fused.graph(x), wanted)
    file = TFLiteRunner(float32_bytes(as_model(fused.graph, name="student")))
    assert_close(file(x), wanted)


def test_separable_layers_thinned_in_closed_form_stay_near_the_teacher():
    model, x = separable_teacher(), images(32, seed=5)
    chain = open_teacher(TeacherConfig("unused.keras", cuts=("stem", "unit0", "last")), model).chain
    wanted = np.asarray(model(x, training=False))

    def distance(start):
        made = student_of(chain, start=start, recipe="width:0.75")
        return np.square(np.asarray(run_student(made, x)) - wanted).sum()

    assert distance("teacher") < 0.1 * distance("random")


def test_a_student_of_separable_layers_is_of_plain_ones_too(tmp_path):
    model = separable_teacher()
    model.save(tmp_path / "own.keras")
    teacher = open_teacher(TeacherConfig("unused.keras", cuts=("unit0",)), model)
    config = StudentConfig(str(tmp_path / "own.keras"), ("unit0",))
    graph = open_own_student(config, teacher, seed=0).graph
    assert {type(layer) for layer in graph.layers}.isdisjoint({
        keras.layers.SeparableConv2D,
        keras.layers.SpectralNormalization,
    })


def test_least_squares_on_a_teacher_of_mixed_precision_are_of_float32():
    """Products of pixels are beyond what float16 holds."""
    image, half = keras.Input((16, 16, 3)), {"dtype": "mixed_float16"}
    x = keras.layers.Conv2D(4, 3, activation=keras.layers.LeakyReLU(**half), **half)(image)
    x = keras.layers.Conv2D(4, 3, activation=keras.layers.LeakyReLU(**half), **half)(x)
    x = keras.layers.Dense(4, dtype="float32")(keras.layers.GlobalAveragePooling2D(**half)(x))
    graph = open_teacher(TeacherConfig("unused.keras", 1), keras.Model(image, x)).chain.graph
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype("float32")
    for _, values in run_calls(graph, pixels):
        for value in values.values():
            assert value.dtype == "float32"
            rows = value.reshape(-1, value.shape[-1])
            equations = NormalEquations.empty(rows.shape[1], rows.shape[1])
            equations.add(rows, rows)
            np.testing.assert_allclose(equations.xx, equations.xy, rtol=1e-5)
            centred = rows.astype("float64") - equations.x_shift
            np.testing.assert_allclose(equations.xx, centred.T @ centred, rtol=1e-3, atol=1)
