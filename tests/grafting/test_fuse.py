"""A trained student made one plain model, and a teacher with a graft in it."""

import keras
import numpy as np
import pytest
from graph_cases import SHAPE as DRAWN_SHAPE
from graph_cases import drawn_model, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl
from small_models import assert_close, conv, images, rounding, small_model, state, trained
from student_cases import chain_of, student_of

from kgraft.grafting import Remaining, fuse
from kgraft.grafting.span import run_student
from kgraft.graph import as_model, clone_graph, split_chain, trace_model
from kgraft.students import StudentBlock


def adapters_in(fused, student):
    parts = [part for b in student for part in (b.entry, b.exit) if part is not None]
    names = {part.output for part in parts}
    return {call.name for call in fused.graph.calls} & names


def norms_in(fused):
    return [c.name for c in fused.graph.calls if isinstance(c.op, kl.BatchNormalization)]


def check_fused(student, x, tolerance=1e-5):
    """The fused student does what the blocks do; what is left of adapters and norms is named."""
    wanted = np.asarray(run_student(student, x))
    before = state(*(v for made in student for v in made.body.variables))
    layers = [layer for made in student for layer in made.body.layers]
    nodes = [len(layer._inbound_nodes) for layer in layers]
    fused = fuse(student)
    assert_close(fused.graph(x), wanted, tolerance)
    assert adapters_in(fused, student) == {left.name for left in fused.adapters_left}
    assert norms_in(fused) == [left.name for left in fused.norms_left]
    assert all(left.why for left in (*fused.adapters_left, *fused.norms_left))
    assert nodes == [len(layer._inbound_nodes) for layer in layers]
    for old, new in zip(
        before, state(*(v for made in student for v in made.body.variables)), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    return fused


@pytest.mark.parametrize(
    ("start", "graft"), [("random", "all"), ("random", "1"), ("teacher", "all")]
)
def test_fusing_small_students_changes_nothing_but_rounding(small_teacher, start, graft):
    check_fused(student_of(chain_of(small_teacher), start=start, graft=graft), images())


def test_fusing_students_of_real_architectures_changes_nothing_but_rounding(application):
    student = student_of(chain_of(application, 5))
    x = images(3, application.input_shape[1:])
    moves = rounding(lambda x: run_student(student, x), x)
    check_fused(student, x, tolerance=max(1e-4, 5 * moves))


@given(networks, st.integers(2, 4), st.sampled_from(["random", "teacher"]))
@settings(max_examples=8, deadline=None)
def test_fusing_drawn_students_changes_nothing_but_rounding(pieces, blocks, start):
    student = student_of(chain_of(drawn_model(pieces), blocks), start=start)
    check_fused(student, images(4, DRAWN_SHAPE), tolerance=1e-4)


@pytest.mark.parametrize("start", ["random", "teacher"])
def test_border_pixels_are_the_blocks_own(start):
    """A student whose output is a map: every pixel is compared, the outermost by themselves."""
    image = keras.Input((9, 8, 3))
    x = kl.ReLU()(kl.BatchNormalization()(conv(image, 8, name="conv1")))
    x = conv(x, 8, name="conv2", activation="relu")
    x = kl.ZeroPadding2D(2, name="pad")(x)
    x = kl.Conv2D(6, 5, name="conv3", activation="relu")(x)
    model = trained(keras.Model(image, conv(x, 4, name="conv4", dilation_rate=2)))
    student = student_of(split_chain(trace_model(model), ("conv1", "conv2", "conv3")), start=start)
    x = images(3, (9, 8, 3))
    fused = check_fused(student, x)
    assert fused.adapters_left == ()
    got, wanted = np.asarray(fused.graph(x)), np.asarray(run_student(student, x))
    border = np.ones(wanted.shape[1:3], bool)
    border[1:-1, 1:-1] = False
    assert_close(got[:, border], wanted[:, border])


def test_plain_students_keep_no_adapter():
    chain = split_chain(trace_model(small_model("plain")), ("down", "conv2", "conv3"))
    fused = check_fused(student_of(chain), images())
    assert fused.adapters_left == fused.norms_left == ()
    assert [call.name for call in fused.graph.calls] == [
        "conv1",
        "down",
        "conv2",
        "conv3",
        "pool",
        "logits",
    ]
    widths = [fused.graph.shapes[f"conv{i}"][-1] for i in (1, 2, 3)]
    assert widths == [4, 6, 5]


def test_an_adapter_before_a_depthwise_convolution_is_named_with_the_reason():
    chain = split_chain(trace_model(small_model("depthwise")), ("inv2_expand_relu",))
    fused = check_fused(student_of(chain), images())
    assert fused.adapters_left == (
        Remaining(
            "block1_entry",
            "inv2_filter (DepthwiseConv2D) reads it and cannot take it in; inv2_expand_relu (ReLU) "
            "makes its input and is not linear",
        ),
    )


def test_an_adapter_behind_a_linear_bottleneck_folds_backward():
    """The reader is an addition, the writer a projection with its BatchNorm folded."""
    chain = split_chain(trace_model(small_model("depthwise")), ("inv2_project_norm",))
    student = student_of(chain)
    fused = check_fused(student, images())
    assert fused.adapters_left == ()


@pytest.mark.parametrize("start", ["random", "teacher"])
@pytest.mark.parametrize("cut", ["conv1", "conv2", "dense"])
def test_a_cut_between_a_layer_and_its_norm(cut, start):
    """The norm must not fold into the adapter, which would get a bias and lose it at borders."""
    chain = split_chain(trace_model(small_model("batch_norm")), (cut,))
    student = student_of(chain, start=start)
    # Norms that shift a lot, so that a lost shift shows.
    for made in student:
        for layer in made.body.layers:
            if isinstance(layer, kl.BatchNormalization):
                layer.moving_mean.assign_add(layer.moving_mean + 1.0)
    fused = check_fused(student, images(8))
    assert fused.adapters_left == fused.norms_left == ()


def test_norms_that_stay_are_named_with_the_reason():
    fused = fuse(student_of(chain_of(small_model("concatenation"))))
    reasons = {left.name: left.why for left in fused.norms_left}
    assert reasons == {
        "grow0_norm": "stem is needed without it too",
        "grow1_norm": "block2_entry is needed without it too",
    }


def test_a_teachers_layer_of_an_adapters_name_is_no_adapter():
    image = keras.Input((6, 6, 3))
    x = conv(image, 8, name="block0_exit", activation="relu")
    x = conv(x, 8, name="block1_entry", activation="relu")
    model = trained(keras.Model(image, kl.Flatten()(conv(x, 4, name="last"))))
    student = student_of(split_chain(trace_model(model), ("block0_exit", "block1_entry")))
    x = images(4, (6, 6, 3))
    fused = fuse(student)
    assert_close(fused.graph(x), np.asarray(run_student(student, x)))
    assert fused.adapters_left == ()
    assert len(fused.graph.calls) == 4


def test_dropout_is_gone_from_the_fused_student():
    fused = fuse(student_of(chain_of(small_model("plain")), graft="0"))
    assert not any(isinstance(call.op, kl.Dropout) for call in fused.graph.calls)


def test_a_fused_student_round_trips_as_a_model(small_teacher, tmp_path):
    fused = fuse(student_of(chain_of(small_teacher)))
    x = images()
    model = as_model(fused.graph, name="student")
    model.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded(x, training=False), fused.graph(x))


def own_copies(chain, copied):
    """The teacher's own blocks, some of them as trainable copies."""
    return tuple(
        StudentBlock(block.index, clone_graph(block.graph, trainable=True))
        if block.index in copied
        else StudentBlock(block.index, block.graph, kept=True)
        for block in chain.blocks
    )


@pytest.mark.parametrize("copied", [(1, 2), (0, 1, 2, 3)])
def test_a_span_replaced_by_itself_is_the_teacher(small_teacher, copied):
    chain = chain_of(small_teacher)
    student = own_copies(chain, copied)
    x = images()
    wanted = np.asarray(small_teacher(x, training=False))
    np.testing.assert_array_equal(run_student(student, x), wanted)
    assert_close(fuse(student).graph(x), wanted)


def test_a_span_of_a_real_architecture_replaced_by_itself_is_the_teacher(application):
    chain = chain_of(application, 5)
    student = own_copies(chain, (1, 2))
    x = images(2, application.input_shape[1:])
    wanted = np.asarray(application(x, training=False))
    np.testing.assert_array_equal(run_student(student, x), wanted)
    assert_close(fuse(student).graph(x), wanted, tolerance=1e-4)


def test_a_student_that_keeps_every_block_is_the_teacher():
    teacher = small_model("residual")
    chain = chain_of(teacher)
    student = own_copies(chain, ())
    x = images()
    wanted = np.asarray(teacher(x, training=False))
    np.testing.assert_array_equal(run_student(student, x), wanted)
    assert_close(fuse(student).graph(x), wanted)


def test_an_own_student_with_the_teachers_names_can_be_grafted():
    teacher, mine = small_model("operators"), small_model("operators", seed=1)
    chain, own = (split_chain(trace_model(m), ("conv1", "conv3")) for m in (teacher, mine))
    student = student_of(chain, start="teacher", graft="1", recipe="mine.keras", own=own)
    x = images()
    check_fused(student, x)


def test_fused_students_are_told_apart_from_their_blocks():
    student = student_of(chain_of(small_model("plain")))
    fused = fuse(student)
    theirs = {id(v) for made in student for v in made.body.variables}
    assert theirs and not theirs & {id(v) for v in fused.graph.variables}
