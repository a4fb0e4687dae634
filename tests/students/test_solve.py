"""Layers corrected in closed form."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import conv, images, small_model, state, trained

from kgraft.graph import clone_graph, fold_batch_norm, trace_model
from kgraft.students import layer_fit, solve
from kgraft.students.blueprint import (
    Blueprint,
    before_activation,
    fits_of,
    split_activations,
    sums_last,
)
from kgraft.students.channels import channel_groups
from kgraft.students.solve import solve_body
from kgraft.students.thinning import plan_widths, thin_graph


def folded(model):
    graph, _ = fold_batch_norm(clone_graph(trace_model(model), trainable=True))
    return sums_last(graph)


def blueprint(teacher, student, kept=None):
    full = split_activations(teacher)

    def channels(value):
        return np.arange(teacher.shapes[value][-1]) if kept is None else kept(value)

    fits = fits_of(student, lambda value: ((before_activation(full, value), channels(value)),))
    return Blueprint(full, fits, np.arange(teacher.input_shape[-1]))


def solved(teacher, student, x, *, kept=None, seed=0, student_x=None, choose=None):
    return solve_body(
        blueprint(teacher, student, kept),
        student,
        entry=x,
        student_entry=x if student_x is None else student_x,
        seed=seed,
        choose=choose,
    )


@pytest.fixture
def weak_ridge(monkeypatch):
    monkeypatch.setattr(layer_fit, "LAYER_RIDGE", 1e-9)
    monkeypatch.setattr(layer_fit, "STRENGTHS", (1e-9,))


def graph_of(layer, shape):
    image = keras.Input(shape)
    return folded(trained(keras.Model(image, layer(image))))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: kl.Conv2D(4, 3, padding="same"),
        lambda: kl.Conv2D(4, 3),
        lambda: kl.Conv2D(4, (2, 3), strides=2, padding="same", activation="relu"),
        lambda: kl.Conv2D(4, 3, strides=(1, 2), use_bias=False),
        lambda: kl.Conv2D(4, 3, dilation_rate=2, padding="same"),
        lambda: kl.DepthwiseConv2D(3, padding="same", activation="relu"),
        lambda: kl.DepthwiseConv2D(3, strides=2, use_bias=False),
        lambda: kl.Dense(4, activation="tanh"),
    ],
)
def test_a_layer_finds_its_way_back(layer, weak_ridge):
    """From other starting weights, full-width least squares gives the teacher's own again."""
    teacher = graph_of(layer(), (9, 8, 3))
    student = clone_graph(teacher, trainable=True)
    for variable in student.variables:
        variable.assign(variable * 0.5 + 0.1)
    x = images(16, (9, 8, 3))
    out = solved(teacher, student, x).output
    np.testing.assert_allclose(out, teacher(x), atol=1e-4)
    for got, wanted in zip(state(*student.variables), state(*teacher.variables), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_a_student_like_the_teacher_is_left_as_it_is(small_teacher):
    teacher = folded(small_teacher)
    student = clone_graph(teacher, trainable=True)
    x = images(16)
    before = state(*student.variables)
    solved(teacher, student, x)
    for got, wanted in zip(state(*student.variables), before, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_channels_that_say_the_same_can_be_dropped_without_loss(weak_ridge):
    image = keras.Input((6, 6, 3))
    x = conv(image, 6, 1, name="twins", activation="relu")
    model = trained(keras.Model(image, conv(x, 4, name="reader")))
    kernel, bias = model.get_layer("twins").get_weights()
    order = [0, 1, 2, 0, 1, 2]
    model.get_layer("twins").set_weights([kernel[..., order], bias[order]])
    teacher, x = folded(model), images(32, (6, 6, 3))
    student, kept = thin(teacher, scores=np.array([3.0, 2, 1, 0, 0, 0]))
    assert np.abs(np.asarray(student(x)) - np.asarray(teacher(x))).max() > 0.1
    out = solved(teacher, student, x, kept=kept).output
    np.testing.assert_allclose(out, teacher(x), atol=1e-3)


def thin(teacher, *, scores=None):
    groups = channel_groups(teacher)
    given = {} if scores is None else {groups.of("twins")[0]: scores}
    plan = plan_widths(groups, teacher, ratio=0.5, scores=given, entry_kept=None, lock_exit=True)
    student = thin_graph(teacher, groups, plan, copy=True)
    return student, lambda value: groups.kept(value, plan)


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise", "squeeze_excite", "nested"])
def test_correcting_brings_a_thin_network_nearer(name):
    teacher = folded(small_model(name))
    x = images(64)
    student, kept = thin(teacher)
    wanted = np.asarray(teacher(x))
    before = np.square(np.asarray(student(x)) - wanted).sum()
    out = solved(teacher, student, x, kept=kept).output
    np.testing.assert_allclose(out, student(x), atol=1e-4)
    assert np.square(out - wanted).sum() < 0.6 * before


def test_the_teacher_stays_as_it_is():
    teacher = folded(small_model("plain"))
    before = state(*teacher.variables)
    student, kept = thin(teacher)
    solved(teacher, student, images(8), kept=kept)
    for old, new in zip(before, state(*teacher.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    activations = {call.op.activation.__name__ for call in teacher.calls if "conv" in call.name}
    assert activations == {"relu"}


def test_a_sample_of_places_is_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(layer_fit, "_MIN_ROWS", 300)
    teacher = folded(small_model("plain"))
    x = images(8)

    def drawn(seed):
        student, kept = thin(teacher)
        return solved(teacher, student, x, kept=kept, seed=seed).output

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


def test_a_channel_that_never_varies_does_no_harm():
    """Saturated for every image, with all of a filter's places inside."""
    image = keras.Input((6, 6, 3))
    x = conv(image, 4, 1, name="conv", activation="relu")
    model = trained(keras.Model(image, kl.DepthwiseConv2D(3, name="filter")(x)))
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[..., 1], bias[1] = 0.0, 1.7
    model.get_layer("conv").set_weights([kernel, bias])
    teacher = folded(model)
    student = clone_graph(teacher, trainable=True)
    x = images(64, (6, 6, 3))
    out = solved(teacher, student, x).output
    np.testing.assert_allclose(out, teacher(x), atol=1e-4)
    np.testing.assert_allclose(
        student.call("filter").op.kernel, teacher.call("filter").op.kernel, atol=1e-3
    )


def test_a_layer_that_feeds_a_sum_makes_good_what_the_shortcut_lacks(weak_ridge):
    """The student's shortcut is half of the teacher's; the last layer adds what is missing."""
    image = keras.Input((6, 6, 4))
    x = kl.Add(name="sum")([image, conv(image, 4, 1, name="last")])
    teacher = folded(trained(keras.Model(image, x)))
    student, x = clone_graph(teacher, trainable=True), images(32, (6, 6, 4))
    out = solved(teacher, student, x, student_x=0.5 * x).output
    np.testing.assert_allclose(out, teacher(x), atol=1e-3)
    kernel, wanted = (graph.call("last").op.kernel[0, 0] for graph in (student, teacher))
    np.testing.assert_allclose(kernel, 2 * np.asarray(wanted) + np.eye(4), atol=1e-3)


def test_a_layer_told_to_do_with_less_leaves_out_what_it_can_do_without():
    image = keras.Input((6, 6, 3))
    x = conv(image, 6, 1, name="twins", activation="relu")
    model = trained(keras.Model(image, conv(x, 4, name="reader")))
    kernel, bias = model.get_layer("twins").get_weights()
    order = [0, 1, 2, 0, 1, 2]
    model.get_layer("twins").set_weights([kernel[..., order], bias[order]])
    teacher, x = folded(model), images(32, (6, 6, 3))
    student = clone_graph(teacher, trainable=True)
    found = solved(teacher, student, x, choose={"reader": 3})
    assert sorted(order[channel] for channel in found.chosen["reader"]) == [0, 1, 2]
    read = np.abs(np.asarray(student.call("reader").op.kernel)).sum(axis=(0, 1, 3))
    np.testing.assert_array_equal(np.flatnonzero(read), found.chosen["reader"])
    assert np.square(found.output - teacher(x)).mean() < 0.01 * np.var(teacher(x))


def test_the_most_energetic_channels_are_candidates_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(layer_fit, "MOST_FEATURES", 9 * 4)
    teacher, x = folded(small_model("plain")), images(8)
    student = clone_graph(teacher, trainable=True)
    found = solved(teacher, student, x, choose={"conv2": 2, "conv3": 6})
    assert [len(found.chosen[name]) for name in ("conv2", "conv3")] == [2, 6]


def test_values_of_the_teacher_are_let_go():
    teacher = folded(small_model("residual"))
    student = clone_graph(teacher, trainable=True)
    plan = blueprint(teacher, student)
    values = solve._TeacherValues(plan, images(2))
    for fit in plan.fits:
        values.parts(fit)
        values.release(fit)
    assert not values._found
    assert not values._uses


@pytest.mark.parametrize(
    ("activation", "bounds"),
    [
        (keras.activations.relu, (0.0, np.inf)),
        (keras.ops.relu, (0.0, np.inf)),
        (keras.ops.relu6, (0.0, 6.0)),
        (lambda x: keras.activations.relu(x, max_value=3.0), (0.0, 3.0)),
        (lambda x: keras.activations.relu(x, negative_slope=0.1), None),
        (lambda x: keras.activations.relu(x, threshold=0.5), None),
        (kl.ReLU(), (0.0, np.inf)),
        (kl.ReLU(6.0), (0.0, 6.0)),
        (kl.ReLU(negative_slope=0.1), None),
        (kl.LeakyReLU(), None),
        (keras.ops.tanh, None),
    ],
)
def test_between_which_values_a_layer_matters(activation, bounds):
    image = keras.Input((6, 6, 3))
    x = kl.MaxPooling2D()(activation(conv(image, 4, name="conv")))
    graph = trace_model(keras.Model(image, x))
    (fit,) = fits_of(graph, lambda value: [])
    assert solve._bounds(graph, graph.call("conv"), fit) == bounds


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("examples", [3, 40])
def test_a_layer_of_many_inputs_and_few_rows_is_solved_by_the_rows(
    activation, examples, monkeypatch
):
    """A dense layer behind a flattened map has more inputs than there are views."""
    image = keras.Input((8, 8, 3))
    dense = kl.Dense(4, activation=activation)(kl.Flatten()(image))
    teacher = folded(trained(keras.Model(image, dense)))
    x = images(examples, (8, 8, 3))

    def weights():
        student = clone_graph(teacher, trainable=True)
        for variable in student.variables:
            variable.assign(variable * 0.5 + 0.1)
        solved(teacher, student, x)
        return state(*student.variables)

    by_sums = weights()
    monkeypatch.setattr(layer_fit, "MOST_SQUARED", 191)
    monkeypatch.setattr(layer_fit.NormalEquations, "empty", None)
    for one, other in zip(weights(), by_sums, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(other).max())
