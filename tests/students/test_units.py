"""Repeated units found by structure."""

import keras
import pytest
from keras import layers as kl
from small_models import application_model, conv, conv_norm_relu, small_model, trained
from unit_cases import block_of, pattern, residual_stage

from kgraft.errors import KgraftError
from kgraft.students.units import find_runs, group_runs


def runs_of(model, cuts=(), index=0):
    return find_runs(pattern(block_of(model, cuts, index)))


def ends(runs):
    return [[unit.end for unit in run] for run in runs]


def test_residual_units_after_a_projection():
    (run,) = runs_of(small_model("residual"))
    assert [(unit.start, unit.end) for unit in run] == [
        ("res0_out", "res1_add"),
        ("res1_out", "res2_add"),
    ]
    assert [unit.layers for unit in run] == [("res1_a", "res1_b"), ("res2_a", "res2_b")]


def test_inverted_residuals():
    (run,) = runs_of(small_model("depthwise"))
    assert ends([run]) == [["inv0_add", "inv1_add"]]
    assert run[1].layers == ("inv1_expand", "inv1_filter", "inv1_project")


def test_a_layer_between_breaks_a_run():
    image = keras.Input((6, 6, 4))
    x = kl.Add(name="sum1")([image, conv(image, 4, name="a")])
    x = conv(x, 4, 1, name="between")
    x = kl.Add(name="sum2")([x, conv(x, 4, name="b")])
    assert not runs_of(keras.Model(image, x))


def test_convolutions_of_one_shape_where_nothing_is_added():
    image = keras.Input((6, 6, 3))
    x = conv(image, 4, name="a", activation="relu")
    x = conv(x, 4, name="b", activation="relu")
    x = conv_norm_relu(x, 4, name="c")
    x = conv(kl.MaxPooling2D()(x), 6, name="d", activation="relu")
    runs = runs_of(trained(keras.Model(image, x)))
    assert ends(runs) == [["a:linear", "b:linear", "c"]]


def test_depthwise_convolutions_go_with_what_follows():
    image = keras.Input((6, 6, 4))
    x = image
    for index in range(3):
        x = kl.DepthwiseConv2D(3, padding="same", name=f"filter{index}")(x)
        x = conv(kl.ReLU(name=f"relu{index}")(x), 4, 1, name=f"mix{index}")
        x = kl.ReLU(name=f"out{index}")(x)
    (run,) = runs_of(keras.Model(image, x))
    assert [unit.layers for unit in run] == [(f"filter{i}", f"mix{i}") for i in range(3)]


def bottlenecks(strides, rates):
    """Units of 1x1, 3x3 and 1x1 convolutions, the stride in the middle, as in later ResNets."""
    image = keras.Input((8, 8, 6))
    x = image
    for index, (stride, rate) in enumerate(zip(strides, rates, strict=True)):
        y = conv(x, 4, 1, name=f"unit{index}_a", activation="relu")
        y = conv(y, 4, name=f"unit{index}_b", strides=stride, dilation_rate=rate, activation="relu")
        y = conv(y, 6, 1, name=f"unit{index}_c")
        shortcut = conv(x, 6, 1, name=f"unit{index}_shortcut", strides=stride) if stride > 1 else x
        x = kl.ReLU(name=f"unit{index}_out")(kl.Add(name=f"unit{index}_add")([shortcut, y]))
    return trained(keras.Model(image, x))


@pytest.mark.parametrize(
    ("strides", "rates", "expected"),
    [
        ((2, 1, 1), (1, 1, 1), [["unit1_add", "unit2_add"]]),
        ((1, 1, 1), (1, 2, 2), [["unit1_add", "unit2_add"]]),
        ((1, 1), (1, 1), [["unit0_add", "unit1_add"]]),
        ((1, 1), (1, 2), []),
    ],
    ids=str,
)
def test_units_whose_inner_values_cannot_lie_side_by_side(strides, rates, expected):
    assert ends(runs_of(bottlenecks(strides, rates))) == expected


@pytest.mark.parametrize(
    ("name", "cuts", "index", "units", "start"),
    [
        ("ResNet50", ("pool1_pool", "conv2_block3_out"), 1, 3, "pool1_pool"),
        ("ResNet50V2", ("conv2_block3_out", "conv3_block3_out"), 1, 3, "conv3_block1_preact_relu"),
        ("MobileNetV2", ("block_6_expand", "block_9_add"), 1, 3, "block_6_project_BN"),
    ],
)
def test_units_of_real_architectures(name, cuts, index, units, start):
    (run,) = runs_of(application_model(name, 64), cuts, index)
    assert len(run) == units
    assert run[0].start == start.replace("_BN", "")
    assert len(run[0].layers) == 3


@pytest.mark.parametrize(
    ("units", "count", "sizes"),
    [
        (9, 3, [3, 3, 3]),
        (9, 6, [1, 2, 1, 2, 1, 2]),
        (9, 4, [2, 2, 2, 3]),
        (3, 1, [3]),
        (3, 2, [1, 2]),
    ],
)
def test_groups_are_even(units, count, sizes):
    block = block_of(residual_stage(units))
    (groups,) = group_runs(block, pattern(block), count)
    assert [len(group) for group in groups] == sizes
    assert [unit.end for group in groups for unit in group] == [
        f"unit{index}_add" for index in range(units)
    ]


@pytest.mark.parametrize(("units", "right"), [(3, "1 to 2"), (2, "1")])
def test_more_units_than_there_are(units, right):
    block = block_of(residual_stage(units))
    with pytest.raises(KgraftError) as error:
        group_runs(block, pattern(block), 5)
    assert str(error.value) == (
        f"--student: depth:5 leaves out no unit of block0, which has {units} repeated units: N of "
        f"{right} would be right there"
    )


def test_a_block_without_units():
    block = block_of(small_model("plain"), ("down", "conv3"), 2)
    with pytest.raises(KgraftError) as error:
        group_runs(block, pattern(block), 1)
    assert str(error.value) == (
        "--student: depth:1 needs a block with repeated units of one shape; block2 (conv3 to "
        "logits) has none: give it another recipe, such as 2=width:0.5 or 2=keep in --graft"
    )
