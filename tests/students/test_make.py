"""Student blocks from recipes, with both kinds of starting weights."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import assert_close, conv, images, small_model, state, trained
from student_cases import chain_of, student_of, teacher_activations

from kgraft.errors import KgraftError
from kgraft.grafting.span import run_student
from kgraft.graph import concat, find_cuts, split_chain, trace_model
from kgraft.students import Start, adapter_matrix, assign_recipes, check_recipes, make_student

both_starts = pytest.mark.parametrize("start", ["random", "teacher"])


def check_widths(chain, student):
    """Every block takes and gives the teacher's width, with adapters just where they are needed."""
    for block, made in zip(chain.blocks, student, strict=True):
        entry, body, exit_ = made.entry, made.body, made.exit
        assert (entry or body).input_shape == block.graph.input_shape
        assert (exit_ or body).output_shape == block.graph.output_shape
        if entry is not None:
            assert entry.output_shape == body.input_shape != block.graph.input_shape
        if exit_ is not None:
            assert exit_.input_shape == body.output_shape != block.graph.output_shape
        for before, after in ((entry, body), (body, exit_)):
            if before is not None and after is not None:
                concat((before, after))


@both_starts
def test_widths_of_small_students_fit(small_teacher, start):
    chain = chain_of(small_teacher)
    before = state(*chain.graph.variables)
    student = student_of(chain, start=start)
    check_widths(chain, student)
    assert sum(made.body.parameters for made in student) < 0.75 * chain.graph.parameters
    assert run_student(student, images()).shape == (4, 5)
    for old, new in zip(before, state(*chain.graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_widths_of_students_of_real_architectures_fit(application):
    chain = chain_of(application, 5)
    student = student_of(chain)
    check_widths(chain, student)
    assert sum(made.body.parameters for made in student) < 0.35 * chain.graph.parameters


@both_starts
def test_a_block_takes_what_the_one_before_it_makes(start):
    student = student_of(chain_of(small_model("plain")), start=start)
    for before, after in itertools.pairwise(student):
        assert before.exit.input_shape[-1] == after.entry.output_shape[-1]


@both_starts
@pytest.mark.parametrize("name", ["plain", "residual", "concatenation"])
def test_a_single_grafted_block_fits_between_kept_ones(name, start):
    chain = chain_of(small_model(name))
    student = student_of(chain, start=start, graft="1-2")
    check_widths(chain, student)
    assert [made.kept for made in student] == [True, False, False, True]
    assert student[1].entry is None
    for made, block in zip(student, chain.blocks, strict=True):
        assert (made.body is block.graph) == made.kept
    teacher = {id(v) for v in chain.graph.variables}
    grafted = {id(v) for made in student[1:3] for v in made.body.variables}
    assert not teacher & grafted


def test_kept_blocks_alone_are_the_teacher(small_teacher):
    chain = chain_of(small_teacher)
    recipes = assign_recipes("all", "width:1", 4)
    start = Start("random", teacher_activations(chain), 0)
    kept = make_student(chain, [type(recipe)("keep") for recipe in recipes], start)
    x = images()
    np.testing.assert_array_equal(run_student(kept, x), small_teacher(x, training=False))


def test_solved_students_of_full_width_are_the_teacher(small_teacher):
    student = student_of(chain_of(small_teacher), start="teacher", recipe="width:1")
    assert all(made.entry is None and made.exit is None for made in student)
    wanted = np.asarray(small_teacher(images(), training=False))
    assert_close(run_student(student, images()), wanted, tolerance=1e-4)


@pytest.mark.parametrize(
    "name", ["plain", "shared", "squeeze_excite", "concatenation", "operators"]
)
def test_solved_students_are_near_the_teacher(name):
    model = small_model(name)
    chain = chain_of(model)
    x = images(64, seed=5)
    wanted = np.asarray(model(x, training=False))

    def distance(start):
        return np.square(np.asarray(run_student(student_of(chain, start=start), x)) - wanted).sum()

    assert distance("teacher") < 0.05 * distance("random")


def test_solved_entry_adapters_pick_channels():
    student = student_of(chain_of(small_model("plain")), start="teacher")
    matrix = adapter_matrix(student[1].entry)
    assert set(np.unique(matrix)) == {0.0, 1.0}
    np.testing.assert_array_equal(matrix.sum(axis=0), 1)


def test_the_exits_channels_are_those_the_next_block_would_miss():
    model = small_model("plain")
    kernel, bias = model.get_layer("conv2").get_weights()
    kernel[..., :4, :] *= 1e-3
    model.get_layer("conv2").set_weights([kernel, bias])
    chain = split_chain(trace_model(model), ("conv1",))
    student = student_of(chain, start="teacher")
    picked = np.flatnonzero(adapter_matrix(student[1].entry).sum(axis=1))
    np.testing.assert_array_equal(picked, [4, 5, 6, 7])


def test_what_the_next_block_would_miss_counts_its_batch_norm():
    """Kernels that a BatchNorm hardly lets through are missed as little as small ones."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = conv(image, 8, 1, name="conv1", activation="relu")
    x = conv(x, 6, 1, name="conv2", use_bias=False)
    x = kl.BatchNormalization(name="norm")(x)
    model = trained(keras.Model(image, conv(kl.ReLU()(x), 4, 1, name="conv3")))
    (kernel,) = model.get_layer("conv2").get_weights()
    kernel[..., :4, 3:] *= 1e-3
    kernel[..., 4:, :3] *= 1e-3
    kernel[..., :4, :3] *= 10
    model.get_layer("conv2").set_weights([kernel])
    gamma, *others = model.get_layer("norm").get_weights()
    gamma[:3] *= 1e-4
    model.get_layer("norm").set_weights([gamma, *others])
    chain = split_chain(trace_model(model), ("conv1",))
    student = student_of(chain, start="teacher")
    picked = np.flatnonzero(adapter_matrix(student[1].entry).sum(axis=1))
    np.testing.assert_array_equal(picked, [4, 5, 6, 7])


@both_starts
def test_the_same_seed_gives_the_same_student(start):
    chain = chain_of(small_model("depthwise"))

    def weights():
        keras.utils.set_random_seed(3)
        student = student_of(chain, start=start)
        return state(*(v for made in student for v in made.body.variables))

    for one, two in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_statistics_train_with_fresh_weights_only():
    chain = chain_of(small_model("batch_norm"))
    assert all(made.train_statistics for made in student_of(chain, start="random"))
    assert not any(made.train_statistics for made in student_of(chain, start="teacher"))


def test_statistics_that_train_are_taken_over_all_replicas(teacher_chain):
    fresh = student_of(chain_of(small_model("batch_norm")), start="random")
    mine = student_of(teacher_chain, recipe="mine.keras", own=own_chain())
    for student in (fresh, mine):
        layers = [layer for made in student for layer in made.body.layers]
        norms = [layer for layer in layers if isinstance(layer, kl.BatchNormalization)]
        assert norms
        assert all(norm.synchronized for norm in norms)


def test_statistics_that_are_learnt_anew_forget_what_they_start_from():
    """MobileNet's own momentum is 0.999, by which some hundred updates hardly count."""
    teacher = small_model("batch_norm")
    for layer in teacher.layers:
        if isinstance(layer, kl.BatchNormalization):
            layer.momentum = 0.999
    chain = chain_of(teacher)
    students = [
        student_of(chain, start="random"),
        student_of(chain, start="random", recipe="mine.keras", own=chain_of(teacher)),
    ]
    for student in students:
        layers = [layer for made in student for layer in made.body.layers]
        momenta = {x.momentum for x in layers if isinstance(x, kl.BatchNormalization)}
        assert momenta == {0.9}
    assert {
        layer.momentum for layer in chain.graph.layers if isinstance(layer, kl.BatchNormalization)
    } == {0.999}


def test_a_hard_swish_is_no_sum_that_keeps_inner_channels_wide():
    def teacher(swish):
        image = keras.Input((8, 8, 3))
        stem = conv(image, 8, name="stem", activation="relu")
        y = conv(swish(conv(stem, 16, name="wide")), 8, name="narrow")
        x = kl.Add(name="sum")([stem, y])
        return trained(keras.Model(image, kl.Flatten()(x)))

    for start in ("random", "teacher"):
        for swish in (kl.ReLU(), lambda x: x * keras.ops.relu6(x + 3.0) / 6.0):
            (made,) = student_of(
                split_chain(trace_model(teacher(swish)), ()), start=start, recipe="inner:0.5"
            )
            assert made.body.shapes["wide"][-1] == 8 and made.body.shapes["narrow"][-1] == 8


def test_blocks_that_keep_their_width_say_around_what():
    student = student_of(chain_of(small_model("locked")))
    notes = [note for made in student for note in made.notes]
    assert "kept at full width around LayerNormalization" in notes
    assert not any(made.notes for made in student_of(chain_of(small_model("plain"))))


def own_model(shape=(12, 12, 3), classes=5, widths=(6, 7)):
    keras.utils.set_random_seed(7)
    image = keras.Input(shape)
    x = conv(image, widths[0], name="mine1", activation="relu")
    x = kl.MaxPooling2D(name="mine_down")(x)
    x = kl.BatchNormalization(name="mine_norm")(conv(x, widths[1], name="mine2"))
    x = kl.ReLU(name="mine_relu")(x)
    x = kl.GlobalAveragePooling2D(name="mine_pool")(x)
    return keras.Model(image, kl.Dense(classes, name="mine_out")(x))


@pytest.fixture
def teacher_chain():
    return split_chain(trace_model(small_model("plain")), ("conv1", "conv3"))


def own_chain(cuts=("mine1", "mine_relu"), **options):
    return split_chain(trace_model(own_model(**options)), cuts)


@both_starts
def test_an_own_student_gets_adapters_where_widths_differ(teacher_chain, start):
    own = own_chain()
    before = state(*own.graph.variables)
    student = student_of(teacher_chain, start=start, recipe="mine.keras", own=own)
    check_widths(teacher_chain, student)
    widths = [
        [part and (part.input_shape[-1], part.output_shape[-1]) for part in (b.entry, b.exit)]
        for b in student
    ]
    assert widths == [[None, (6, 8)], [(8, 6), (7, 10)], [(10, 7), None]]
    assert [made.train_statistics for made in student] == [start == "random"] * 3
    for old, new in zip(before, state(*own.graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_own_student_starts_from_its_own_weights(teacher_chain):
    own = own_chain()
    student = student_of(teacher_chain, start="teacher", recipe="mine.keras", own=own)
    x = images()
    np.testing.assert_allclose(student[0].body(x), own.blocks[0].graph(x), atol=1e-6)


def test_an_own_students_adapters_are_solved(teacher_chain):
    """Exit towards the teacher's features, entry towards what the student itself would see."""
    own = own_chain()
    student = student_of(teacher_chain, start="teacher", recipe="mine.keras", own=own)
    activations = teacher_activations(teacher_chain)
    x, features = activations(0, 16), activations(1, 16)
    made = np.asarray(own.blocks[0].graph(x))
    exit_ = np.linalg.lstsq(made.reshape(-1, 6), features.reshape(-1, 8), rcond=None)[0]
    entry = np.linalg.lstsq(features.reshape(-1, 8), made.reshape(-1, 6), rcond=None)[0]
    np.testing.assert_allclose(adapter_matrix(student[0].exit), exit_, atol=0.02)
    np.testing.assert_allclose(adapter_matrix(student[1].entry), entry, atol=0.02)


def test_a_piece_of_an_own_student_beside_thin_and_kept_blocks(teacher_chain):
    student = student_of(teacher_chain, graft="0=width:0.5,1", recipe="mine.keras", own=own_chain())
    check_widths(teacher_chain, student)
    assert [made.kept for made in student] == [False, False, True]


def test_an_own_student_with_other_blocks_is_refused(teacher_chain):
    with pytest.raises(KgraftError) as error:
        student_of(teacher_chain, recipe="mine.keras", own=own_chain(cuts=("mine1",)))
    assert str(error.value) == (
        "--student_cuts: the teacher has 3 blocks, the student 2: give 2 cuts, one for each of "
        "the teacher's (conv1, conv3)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cuts": ("mine_down", "mine_relu")},
            "at the teacher's 'conv1' the shape is (None, 12, 12, 8), at the student's 'mine_down' "
            "(None, 6, 6, 6)",
        ),
        (
            {"classes": 4},
            "at the teacher's 'logits' the shape is (None, 5), at the student's 'mine_out' "
            "(None, 4)",
        ),
        (
            {"shape": (12, 12, 1)},
            "at the teacher's 'input' the shape is (None, 12, 12, 3), at the student's 'input' "
            "(None, 12, 12, 1)",
        ),
    ],
)
def test_an_own_student_of_other_shapes_is_refused(teacher_chain, options, message):
    with pytest.raises(KgraftError) as error:
        student_of(teacher_chain, recipe="mine.keras", own=own_chain(**options))
    assert str(error.value) == (
        f"--student_cuts: {message}: choose a cut where all but the channels agree"
    )


def test_every_cut_can_begin_a_block(small_teacher):
    """Thin blocks fit however the teacher is cut."""
    graph = trace_model(small_teacher)
    for cuts in (find_cuts(graph)[::2], find_cuts(graph)[1::2]):
        chain = split_chain(graph, cuts)
        check_widths(chain, student_of(chain))


@both_starts
@pytest.mark.parametrize("recipe", ["width:0.5", "inner:0.5", "drop"])
def test_a_block_of_a_dropout_alone_gives_what_it_takes(start, recipe):
    image = keras.Input((8, 8, 3))
    x = kl.Flatten(name="flat")(conv(image, 4, name="conv", activation="relu"))
    x = kl.Dropout(0.5, name="dropout")(x)
    model = trained(keras.Model(image, kl.Dense(5, name="logits")(x)))
    chain = split_chain(trace_model(model), ("conv", "flat", "dropout"))
    student = student_of(chain, start=start, graft="2", recipe=recipe)
    assert student[2].body.calls == ()
    x = images(4, (8, 8, 3))
    assert_close(run_student(student, x), np.asarray(model(x)))


def test_recipes_are_checked_before_anything_is_made():
    chain = chain_of(small_model("residual"))
    check_recipes(chain, assign_recipes("1-2", "width:0.5", 4))
    with pytest.raises(KgraftError, match="--student: depth:3"):
        check_recipes(chain, assign_recipes("0", "depth:3", 4))
    image = keras.Input((7, 7, 3))
    odd = split_chain(trace_model(keras.Model(image, kl.Conv2D(4, 3)(image))), ())
    with pytest.raises(KgraftError, match="drop cannot make"):
        check_recipes(odd, assign_recipes("0", "drop", 1))


def test_fresh_weights_learn_by_batches_where_the_author_froze_the_teachers():
    image = keras.Input((12, 12, 3))
    frozen = keras.Model(image, small_model("residual")(image, training=False))
    chain = chain_of(frozen)
    assert any("training" in call.kwargs for call in chain.graph.calls)
    for made in student_of(chain):
        assert all("training" not in call.kwargs for call in made.body.calls)
    kept = student_of(chain, graft="1")[2]
    assert any("training" in call.kwargs for call in kept.body.calls)


def test_a_students_own_frozen_layers_stay_frozen():
    image = keras.Input((12, 12, 3))
    frozen = keras.Model(image, small_model("residual")(image, training=False))
    chain = chain_of(frozen)
    student = student_of(chain, graft="1", recipe="own.keras", own=chain)
    assert any("training" in call.kwargs for call in student[1].body.calls)


def test_where_nothing_says_what_is_read_the_channels_of_most_energy_stay():
    image = keras.Input((6, 6, 3))
    x = conv(image, 8, 1, name="conv1", activation="relu")
    model = trained(keras.Model(image, kl.GroupNormalization(4, name="norm")(x)))
    kernel, bias = model.get_layer("conv1").get_weights()
    kernel[..., :4] *= 1e-3
    model.get_layer("conv1").set_weights([kernel, bias * np.repeat([1e-3, 1], 4)])
    chain = split_chain(trace_model(model), ("conv1",))
    student = make_student(
        chain,
        assign_recipes("0=width:0.5", "keep", 2),
        Start("teacher", teacher_activations(chain), 0),
    )
    picked = np.flatnonzero(adapter_matrix(student[0].exit).sum(axis=0) > 0.5)
    np.testing.assert_array_equal(picked, [4, 5, 6, 7])
