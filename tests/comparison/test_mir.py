import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import (
    CLASSES,
    SHAPE,
    assert_close,
    conv,
    conv_classifier,
    ends_with,
    small_model,
    trained,
)

from kgraft.comparison.mir import check_features, feature_value, mir
from kgraft.comparison.pruned import pruned_student
from kgraft.comparison.whole import as_whole
from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.graph import split_chain, trace_model, without_training_layers


@pytest.mark.parametrize(
    ("name", "value"),
    [("residual", "res2_out"), ("plain", "conv3"), ("depthwise", "inv2_project_norm")],
)
def test_features_are_those_before_pooling(name, value):
    assert feature_value(without_training_layers(trace_model(small_model(name)))) == value


def test_features_lie_behind_pooling_that_no_adapter_can_pass():
    assert feature_value(trace_model(small_model("flatten"))) == "down"


@pytest.mark.parametrize("pool_first", [True, False])
def test_a_convolution_to_the_classes_is_no_feature(pool_first, world_of):
    setting = world_of(conv_classifier(pool_first)).setting(teacher_cuts=("stem",), graft="1")
    made = mir(setting)
    assert made.settings["features"] == "a"
    assert made.notes == ()
    found = made.student.graph.call("classes").op
    wanted = setting.chain.graph.call("classes").op
    # The teacher's, but for what its input's missing channels fold into it.
    assert_close(found.bias, np.asarray(wanted.bias))
    assert found.kernel.shape == (1, 1, 4, CLASSES)


def test_a_teacher_without_feature_maps():
    graph = trace_model(ends_with(kl.Dense(3, name="logits")))
    assert feature_value(graph) == "conv1"
    with pytest.raises(KgraftError, match="mir needs a teacher with feature maps"):
        feature_value(dataclasses.replace(graph, shapes=dict.fromkeys(graph.shapes, (None, 4))))


def test_without_updates_it_is_the_pruned_teacher(setting, pixels):
    made = mir(dataclasses.replace(setting, updates=0))
    pruned = fuse(as_whole(pruned_student(setting.chain, setting.job.recipes).blocks))
    assert_close(made.student.graph(pixels), np.asarray(pruned.graph(pixels)), 1e-4)
    assert made.settings["features"] == "res2_out"


def test_kept_last_block_keeps_the_teachers_features(world, pixels):
    setting = world.setting(graft="1-2")
    made = mir(setting)
    assert made.updates == setting.updates
    assert np.isfinite(made.student.graph(pixels)).all()


def linear_units():
    """A teacher whose last feature maps are a sum, which leaving out a unit renames."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = conv(image, 6, name="stem", activation="relu")
    for number in range(2):
        inner = conv(x, 6, name=f"unit{number}_a", activation="relu")
        x = kl.Add(name=f"unit{number}_out")([x, conv(inner, 6, name=f"unit{number}_b")])
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return trained(keras.Model(image, kl.Dense(CLASSES, name="logits")(x)))


def test_features_whose_unit_was_left_out(world_of, pixels):
    world = world_of(linear_units())
    setting = world.setting(teacher_cuts=("stem",), graft="1", student="depth:1")
    made = mir(dataclasses.replace(setting, updates=0))
    assert made.settings["features"] == "unit1_out"
    pruned = fuse(as_whole(pruned_student(setting.chain, setting.job.recipes).blocks))
    assert_close(made.student.graph(pixels), np.asarray(pruned.graph(pixels)), 1e-4)


def test_nothing_that_learns_in_front_of_the_features():
    image = keras.Input(SHAPE)
    x = conv(conv(image, 6, name="a", activation="relu"), 6, name="b")
    x = kl.GlobalAveragePooling2D(name="pool")(kl.ReLU(name="b_relu")(x))
    x = kl.Dense(CLASSES, name="logits")(kl.Dense(8, activation="relu", name="hidden")(x))
    chain = split_chain(trace_model(trained(keras.Model(image, x))), ("b",))
    assert feature_value(chain.graph) == "b_relu"
    check_features(chain, (0, 1))
    message = "b_relu, which block 1 makes, and --graft replaces nothing that learns .*, only 1"
    with pytest.raises(KgraftError, match=message):
        check_features(chain, (1,))


def test_training_brings_the_features_closer(setting):
    views = np.asarray(setting.bank.views / 255.0, "float32")
    wanted = np.asarray(setting.chain.graph(views))

    def error(updates):
        student = mir(dataclasses.replace(setting, updates=updates)).student.graph
        return np.square(student(views) - wanted).mean()

    assert error(200) < 0.5 * error(0)


def test_blocks_behind_the_features_alone_are_refused():
    chain = split_chain(trace_model(two_dense()), ("a", "pool"))
    message = (
        "mir mimics the feature maps a, which block 0 makes, .* only 2: graft an earlier block"
    )
    with pytest.raises(KgraftError, match=message):
        check_features(chain, [2])
    check_features(chain, [0, 2])


@pytest.mark.parametrize(
    ("cuts", "graft", "smaller"),
    [
        (("a", "pool"), "0-2", True),
        (("stem",), "1", True),
        (("a", "pool"), "0", False),
    ],
)
def test_a_head_that_others_make_smaller_is_told_of(cuts, graft, smaller, world_of):
    setting = world_of(two_dense()).setting(teacher_cuts=cuts, graft=graft)
    made = mir(setting)
    note = "keeps the teacher's layers behind the features, which the others make smaller"
    assert made.notes == ((note,) if smaller else ())
    assert made.student.graph.call("hidden").op.units == 32


def two_dense():
    """A teacher with a dense layer between its features and its logits."""
    image = keras.Input(SHAPE)
    x = conv(conv(image, 6, name="stem", activation="relu"), 8, name="a", activation="relu")
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    x = kl.Dense(32, activation="relu", name="hidden")(x)
    return trained(keras.Model(image, kl.Dense(CLASSES, name="logits")(x)))
