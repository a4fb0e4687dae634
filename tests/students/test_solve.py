"""Layers corrected in closed form."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import conv, images, small_model, state, trained

from kgraft.graph import clone_graph, fold_batch_norm, trace_model
from kgraft.students import solve
from kgraft.students.channels import channel_groups
from kgraft.students.solve import LayerFit, correct_layers
from kgraft.students.thin_block import LAYER_RIDGE
from kgraft.students.thinning import plan_widths, thin_graph


def folded(model):
    graph, _ = fold_batch_norm(clone_graph(trace_model(model), trainable=True))
    return graph


def everything(graph, strength=1e-9):
    return LayerFit(lambda value: np.arange(graph.shapes[value][-1]), strength, seed=0)


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
def test_a_layer_finds_its_way_back(layer):
    """From other starting weights, full-width least squares gives the teacher's own again."""
    teacher = graph_of(layer(), (9, 8, 3))
    student = clone_graph(teacher, trainable=True)
    for variable in student.variables:
        variable.assign(variable * 0.5 + 0.1)
    x = images(16, (9, 8, 3))
    out = correct_layers(teacher, student, entry=x, student_entry=x, fit=everything(teacher))
    np.testing.assert_allclose(out, teacher(x), atol=1e-4)
    for got, wanted in zip(state(*student.variables), state(*teacher.variables), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_a_student_like_the_teacher_is_left_as_it_is(small_teacher):
    teacher = folded(small_teacher)
    student = clone_graph(teacher, trainable=True)
    x = images(16)
    before = state(*student.variables)
    correct_layers(teacher, student, entry=x, student_entry=x, fit=everything(teacher, LAYER_RIDGE))
    for got, wanted in zip(state(*student.variables), before, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_channels_that_say_the_same_can_be_dropped_without_loss():
    image = keras.Input((6, 6, 3))
    x = conv(image, 6, 1, name="twins", activation="relu")
    model = trained(keras.Model(image, conv(x, 4, name="reader")))
    kernel, bias = model.get_layer("twins").get_weights()
    order = [0, 1, 2, 0, 1, 2]
    model.get_layer("twins").set_weights([kernel[..., order], bias[order]])
    teacher, x = folded(model), images(32, (6, 6, 3))
    student, fit = thin(teacher, scores=np.array([3.0, 2, 1, 0, 0, 0]), strength=1e-9)
    assert np.abs(np.asarray(student(x)) - np.asarray(teacher(x))).max() > 0.1
    out = correct_layers(teacher, student, entry=x, student_entry=x, fit=fit)
    np.testing.assert_allclose(out, teacher(x), atol=1e-3)


def thin(teacher, *, scores=None, strength=LAYER_RIDGE):
    groups = channel_groups(teacher)
    given = {} if scores is None else {groups.of("twins")[0]: scores}
    plan = plan_widths(groups, teacher, ratio=0.5, scores=given, entry_kept=None, lock_exit=True)
    student = thin_graph(teacher, groups, plan, copy=True)
    return student, LayerFit(lambda value: groups.kept(value, plan), strength, seed=0)


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise", "squeeze_excite", "nested"])
def test_correcting_brings_a_thin_network_nearer(name):
    teacher = folded(small_model(name))
    x = images(64)
    student, fit = thin(teacher)
    wanted = np.asarray(teacher(x))
    before = np.square(np.asarray(student(x)) - wanted).sum()
    out = correct_layers(teacher, student, entry=x, student_entry=x, fit=fit)
    np.testing.assert_allclose(out, student(x), atol=1e-4)
    assert np.square(out - wanted).sum() < 0.6 * before


def test_the_teacher_stays_as_it_is():
    teacher = folded(small_model("plain"))
    before = state(*teacher.variables)
    student, fit = thin(teacher)
    x = images(8)
    correct_layers(teacher, student, entry=x, student_entry=x, fit=fit)
    for old, new in zip(before, state(*teacher.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    activations = {call.op.activation.__name__ for call in teacher.calls if "conv" in call.name}
    assert activations == {"relu"}


def test_a_sample_of_places_is_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(solve, "_MIN_ROWS", 300)
    teacher = folded(small_model("plain"))
    x = images(8)

    def solved(seed):
        student, fit = thin(teacher)
        fit = LayerFit(fit.kept, fit.strength, seed)
        return correct_layers(teacher, student, entry=x, student_entry=x, fit=fit)

    np.testing.assert_array_equal(solved(1), solved(1))
    assert not np.array_equal(solved(1), solved(2))


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
    fit = everything(teacher, LAYER_RIDGE)
    out = correct_layers(teacher, student, entry=x, student_entry=x, fit=fit)
    np.testing.assert_allclose(out, teacher(x), atol=1e-4)
    np.testing.assert_allclose(
        student.call("filter").op.kernel, teacher.call("filter").op.kernel, atol=1e-3
    )
