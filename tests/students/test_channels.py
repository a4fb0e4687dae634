"""Which channels must be thinned in step."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import conv, small_model

from kgraft.graph import trace_model
from kgraft.students.channels import channel_groups, is_conv, is_depthwise


def grouped(build, shape=(6, 6, 8)):
    image = keras.Input(shape)
    graph = trace_model(keras.Model(image, build(image)))
    return channel_groups(graph), graph


def locked(groups, value):
    return [groups.is_locked(group) for group in groups.of(value)]


def small(name):
    graph = trace_model(small_model(name))
    return channel_groups(graph)


def test_a_convolution_starts_a_group_that_others_carry_on():
    groups = small("plain")
    assert groups.of("conv1") == groups.of("down")
    assert groups.of("conv1") != groups.of("conv2")
    assert [groups.width(v) for v in ("input", "conv1", "conv2", "pool")] == [3, 8, 12, 10]
    assert not any(locked(groups, "conv2"))


def test_an_addition_makes_groups_one():
    groups = small("residual")
    assert groups.of("stem") == groups.of("res0_b") == groups.of("res0_out")
    assert groups.of("res1_project") == groups.of("res1_b") == groups.of("res2_b")
    assert groups.of("res0_a") != groups.of("stem") != groups.of("res1_a")


def test_a_depthwise_convolution_carries_its_group_on():
    groups = small("depthwise")
    assert groups.of("inv0_expand") == groups.of("inv0_filter_relu")
    assert groups.of("stem") == groups.of("inv1_project") != groups.of("inv2_project")


def test_a_concatenation_puts_groups_in_a_row():
    groups = small("concatenation")
    row = groups.of("grow1_concat")
    assert row == groups.of("stem") + groups.of("grow0_conv") + groups.of("grow1_conv")
    plan = {row[0]: np.array([1, 7]), row[2]: np.array([0])}
    assert groups.width("grow1_concat") == 20
    kept = groups.kept("grow1_concat", plan)
    np.testing.assert_array_equal(kept, [1, 7, *range(8, 14), 14])


def test_flattening_repeats_groups():
    groups = small("flatten")
    assert groups.of("flat") == groups.of("conv2") * 9
    kept = groups.kept("flat", {groups.of("conv2")[0]: np.array([2, 5])})
    np.testing.assert_array_equal(kept, [12 * place + c for place in range(9) for c in (2, 5)])


def test_a_gate_belongs_to_what_it_weighs():
    groups = small("squeeze_excite")
    assert groups.of("gate0_expand") == groups.of("gate0_reshape") == groups.of("conv1")
    assert groups.of("gate0_reduce") != groups.of("conv1")
    assert not any(locked(groups, "gate0_expand"))


def test_uses_of_a_shared_layer_belong_together():
    groups = small("shared")
    assert groups.of("stem") == groups.of("twice") == groups.of("twice#2")
    assert groups.of("cell/conv1") == groups.of("cell#2/conv1") == groups.of("stem")


def test_operators_carry_groups_on():
    groups = small("operators")
    assert groups.of("conv1") == groups.of("conv2")
    assert not any(locked(groups, "conv1"))
    assert not any(locked(groups, "conv3"))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: kl.LayerNormalization(name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Conv2D(4, 3, groups=2, name="op")(conv(x, 4, name="conv")),
        lambda x: kl.DepthwiseConv2D(3, depth_multiplier=2, name="op")(conv(x, 4, name="conv")),
        lambda x: kl.SeparableConv2D(4, 3, name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Permute((3, 1, 2), name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Reshape((36, 4), name="op")(conv(x, 4, name="conv")),
        lambda x: kl.PReLU(name="op")(conv(x, 4, name="conv")),
        lambda x: kl.BatchNormalization(axis=1, name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Rescaling([1.0, 2.0, 3.0, 4.0], name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Concatenate(axis=1, name="op")([conv(x, 4, name="conv")] * 2),
        lambda x: kl.Softmax(name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Conv2D(4, 3, activation=kl.PReLU(), name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Conv2D(4, 3, activation=kl.Softmax(), name="op")(conv(x, 4, name="conv")),
        lambda x: kl.Dense(4, activation=kl.Activation("softmax"), name="op")(
            conv(x, 4, name="conv")
        ),
        lambda x: Standardized(4, 3, name="op")(conv(x, 4, name="conv")),
        lambda x: conv(x, 4, name="conv") * np.arange(4.0, dtype="float32"),
    ],
)
def test_what_is_not_understood_keeps_its_width(build):
    groups, graph = grouped(build)
    assert all(locked(groups, "conv"))
    assert all(locked(groups, graph.output))


def test_outputs_of_several_widths_keep_theirs():
    def build(x):
        first, second = keras.ops.split(conv(x, 6, name="conv"), [4], axis=-1)
        return kl.Concatenate(name="both")([second, first])

    groups, graph = grouped(build)
    (split,) = [call for call in graph.calls if len(call.outputs) == 2]
    assert [groups.width(value) for value in split.outputs] == [4, 2]
    assert groups.width("both") == 6 and all(locked(groups, "conv"))


def test_an_activation_over_channels_keeps_its_width():
    groups, _ = grouped(lambda x: conv(conv(x, 4, name="a"), 4, name="b", activation="softmax"))
    assert locked(groups, "a") == locked(groups, "b") == [True]


def test_rows_of_other_groups_cannot_be_added():
    def build(x):
        one = kl.Concatenate(name="one")([conv(x, 2, name="a"), conv(x, 4, name="b")])
        two = kl.Concatenate(name="two")([conv(x, 3, name="c"), conv(x, 3, name="d")])
        return kl.Add(name="sum")([one, two])

    groups, _ = grouped(build)
    assert all(locked(groups, "one") + locked(groups, "two"))


def test_a_gate_of_one_channel_locks_nothing():
    def build(x):
        x = conv(x, 4, name="conv")
        return kl.Multiply(name="weigh")([x, conv(x, 1, name="gate", activation="sigmoid")])

    groups, _ = grouped(build)
    assert groups.of("weigh") == groups.of("conv") != groups.of("gate")
    assert locked(groups, "conv") == [False]


def test_locking_reaches_all_that_was_united():
    def build(x):
        x = conv(x, 4, name="a")
        y = conv(x, 4, name="b")
        return kl.LayerNormalization(name="norm")(kl.Add()([x, y]))

    groups, _ = grouped(build)
    assert locked(groups, "a") == locked(groups, "b") == [True]


@pytest.mark.parametrize(
    "activation",
    [
        keras.activations.relu,
        lambda x: keras.activations.relu(x, negative_slope=0.1),
        keras.activations.elu,
        keras.activations.selu,
        keras.activations.leaky_relu,
        keras.activations.softplus,
        keras.activations.silu,
        keras.activations.gelu,
        keras.activations.sigmoid,
        keras.activations.tanh,
        keras.activations.relu6,
    ],
)
def test_activations_called_as_functions_carry_groups_on(activation):
    groups, graph = grouped(lambda x: activation(conv(x, 4, name="conv")))
    assert groups.of(graph.output) == groups.of("conv")
    assert locked(groups, "conv") == [False]


def test_an_activation_may_be_a_layer():
    def build(x):
        return kl.Conv2D(4, 3, activation=kl.LeakyReLU(0.1), name="b")(conv(x, 4, name="a"))

    groups, _ = grouped(build)
    assert locked(groups, "a") == locked(groups, "b") == [False]


class Standardized(kl.Conv2D):
    """A convolution whose kernel is not what its weights say."""


def test_kinds_of_layers():
    assert is_conv(kl.Conv2D(4, 3))
    assert is_conv(kl.Dense(4))
    assert is_depthwise(kl.DepthwiseConv2D(3))
    for op in (
        kl.Conv2D(4, 3, groups=2),
        kl.Conv2D(4, 3, data_format="channels_first"),
        kl.SeparableConv2D(4, 3),
        kl.Conv2DTranspose(4, 3),
        kl.DepthwiseConv2D(3),
        Standardized(4, 3),
    ):
        assert not is_conv(op)
    assert not is_depthwise(kl.DepthwiseConv2D(3, depth_multiplier=2))
    assert not is_depthwise(kl.SeparableConv2D(4, 3))
