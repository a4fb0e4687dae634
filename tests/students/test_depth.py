"""Fewer of the repeated units."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import (
    conv,
    conv_norm_relu,
    images,
    plain_units,
    small_model,
    state,
    trained,
)
from student_cases import teacher_activations
from unit_cases import block_of, pattern, residual_stage

from kgraft.errors import KgraftError
from kgraft.graph import Chain, split_chain, trace_model
from kgraft.students import Start, assign_recipes, make_student
from kgraft.students.depth import merge_units, without_units
from kgraft.students.depth_block import random_depth_block, solved_depth_block
from kgraft.students.units import group_runs


def chain_of(model, cuts=()):
    return split_chain(trace_model(model), cuts)


def solved(chain: Chain, units: int, count: int = 96):
    activations = teacher_activations(chain, count)
    return solved_depth_block(chain.blocks[0], units, activations=activations, seed=0)


def error(body, chain, seed=5):
    x = images(64, chain.graph.input_shape[1:], seed=seed)
    wanted = np.asarray(chain.graph(x))
    return np.square(np.asarray(body(x)) - wanted).sum() / np.square(wanted - wanted.mean(0)).sum()


def names(graph):
    return [call.name for call in graph.calls if getattr(call.op, "kernel", None) is not None]


@pytest.mark.parametrize("solve", [True, False])
def test_units_that_are_left_out_are_gone(solve):
    chain = chain_of(residual_stage(4))
    made = solved(chain, 2) if solve else random_depth_block(chain.blocks[0], 2)
    assert names(made.body) == ["unit0_a", "unit0_b", "unit2_a", "unit2_b"]
    assert made.body.input_shape == made.body.output_shape == (None, 6, 6, 4)
    assert made.body.call("unit0_a").op.kernel.shape == (3, 3, 4, 6)
    assert made.train_statistics != solve
    assert made.notes == ("2 repeated units for 4",)
    assert any(isinstance(layer, kl.BatchNormalization) for layer in made.body.layers) != solve


def test_the_teacher_stays_as_it_is():
    chain = chain_of(residual_stage(3))
    before = state(*chain.graph.variables)
    made = solved(chain, 1)
    assert not {id(v) for v in chain.graph.variables} & {id(v) for v in made.body.variables}
    for old, new in zip(before, state(*chain.graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_side_by_side_units_at_one_input_are_their_sum():
    """With the branches of later units at the first one's input, a merged unit is all of them."""
    block = block_of(residual_stage(3))
    full = pattern(block)
    (groups,) = group_runs(block, full, 1)
    merged = merge_units(full, groups)
    assert merged.choose == {"unit0_b": 6}
    x = images(4, (6, 6, 4))
    added = [
        np.asarray(full.run(x)["unit0_add"]) - x,
        *(_branch(full, f"unit{index}", x) for index in (1, 2)),
    ]
    got = np.asarray(merged.graph.run(x)["unit0_add"]) - x
    np.testing.assert_allclose(got, sum(added), atol=1e-4)


def _branch(full, unit, x):
    first, last = (full.call(f"{unit}_{part}").op for part in "ab")
    return np.asarray(last(np.maximum(first(x), 0)))


def test_a_unit_that_does_nothing_is_left_out_without_loss():
    """The last unit but one adds nothing to a sum that its ReLU leaves as it is."""
    model = residual_stage(3)
    gamma, beta, mean, variance = model.get_layer("unit1_n").get_weights()
    model.get_layer("unit1_n").set_weights([0 * gamma, 0 * beta, mean, variance])
    chain = split_chain(trace_model(model), ("unit0_out",))
    made = solved_depth_block(
        chain.blocks[1], 1, activations=teacher_activations(chain, 96), seed=0
    )
    x = np.asarray(chain.blocks[0].graph(images(32, (6, 6, 4), seed=5)))
    wanted = np.asarray(chain.blocks[1].graph(x))
    np.testing.assert_allclose(made.body(x), wanted, atol=0.05 * wanted.max())


@pytest.mark.parametrize("units", [1, 2])
def test_a_solved_block_is_nearer_than_one_that_leaves_units_out(units):
    chain = chain_of(residual_stage(3))
    full = pattern(chain.blocks[0])
    (groups,) = group_runs(chain.blocks[0], full, units)
    left_out = error(without_units(full, groups), chain)
    assert error(solved(chain, units).body, chain) < 0.75 * left_out


def test_a_projection_may_stand_for_what_follows():
    chain = chain_of(small_model("residual"), ("res0_out", "res2_out"))
    made = solved_depth_block(chain.blocks[1], 1, activations=teacher_activations(chain), seed=0)
    assert names(made.body) == ["res1_a", "res1_project", "res1_b"]
    assert made.body.output_shape == chain.blocks[1].graph.output_shape


def test_plain_convolutions_are_dropped():
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = conv(image, 4, name="a", activation="relu")
    x = conv(x, 4, name="b", activation="relu")
    chain = chain_of(trained(keras.Model(image, conv_norm_relu(x, 4, name="c"))))
    made = solved(chain, 1)
    assert names(made.body) == ["a"]
    assert names(random_depth_block(chain.blocks[0], 1).body) == ["a"]


def test_inverted_residuals_are_merged():
    chain = chain_of(small_model("depthwise"), ("inv1_add",))
    made = solved(chain, 1)
    assert names(made.body)[1:] == ["inv0_expand", "inv0_filter", "inv0_project"]
    assert made.body.call("inv0_filter").op.kernel.shape == (3, 3, 16, 1)


@pytest.mark.parametrize("start", ["teacher", "random"])
def test_the_recipe_by_name(start):
    chain = chain_of(residual_stage(3))
    begin = Start(start, teacher_activations(chain), 0)
    (made,) = make_student(chain, assign_recipes("all", "depth:2", 1), begin)
    assert names(made.body) == ["unit0_a", "unit0_b", "unit1_a", "unit1_b"]
    with pytest.raises(KgraftError, match=r"^--student: depth:3 leaves out no unit of block0"):
        make_student(chain, assign_recipes("all", "depth:3", 1), begin)


def test_the_same_seed_gives_the_same_block():
    chain = chain_of(residual_stage(3))
    one, two = (state(*solved(chain, 1).body.variables) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_units_whose_last_layer_is_scaled_say_that_they_stand_for_themselves():
    """As ConvNeXt's: dense, then a scale for each channel, then the sum."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = conv(image, 6, name="stem")
    for unit in range(3):
        y = conv(kl.ReLU()(conv(x, 12, name=f"a{unit}")), 6, name=f"b{unit}")
        y = kl.BatchNormalization(name=f"scale{unit}")(kl.ReLU()(y))
        x = kl.Add(name=f"sum{unit}")([x, y])
    made = solved(chain_of(trained(keras.Model(image, kl.Flatten()(x)))), 1)
    assert made.notes[0] == "1 repeated units for 3"
    assert made.notes[1].startswith("sum0 is not made by a convolution or dense layer that goes")
    assert "so that 1 units stand for themselves" in made.notes[1]
    for fitted in (residual_stage(4), plain_units(4)):
        assert len(solved(chain_of(fitted), 2).notes) == 1


def test_units_with_a_concatenation_are_merged():
    """Who reads several branches, joined, could not choose among the channels of one."""
    keras.utils.set_random_seed(0)
    image = x = keras.Input((6, 6, 4))
    for unit in range(3):
        a = kl.ReLU()(conv(x, 3, name=f"a{unit}"))
        b = kl.ReLU()(conv(x, 5, name=f"b{unit}"))
        y = conv(kl.Concatenate(name=f"joined{unit}")([a, b]), 4, name=f"project{unit}")
        x = kl.ReLU(name=f"out{unit}")(kl.Add(name=f"sum{unit}")([x, y]))
    chain = chain_of(trained(keras.Model(image, x)))
    full = pattern(chain.blocks[0])
    (groups,) = group_runs(chain.blocks[0], full, 1)
    body = solved(chain, 1).body
    assert sorted(names(body)) == ["a0", "b0", "project0"]
    assert [body.shapes[name][-1] for name in ("a0", "b0", "project0")] == [3, 5, 4]
    assert error(body, chain) < 0.75 * error(without_units(full, groups), chain)


def test_branches_of_a_sum_with_activations_inside_layers_and_apart():
    keras.utils.set_random_seed(0)
    image = x = keras.Input((6, 6, 4))
    for unit in range(2):
        a = conv(conv(x, 5, name=f"a{unit}", activation="relu"), 4, name=f"a_end{unit}")
        b = conv(kl.ReLU()(conv(x, 5, name=f"b{unit}")), 4, name=f"b_end{unit}")
        x = kl.ReLU(name=f"out{unit}")(kl.Add(name=f"sum{unit}")([a, b]))
    chain = chain_of(trained(keras.Model(image, x)))
    made = solved(chain, 1)
    # What is fitted to the sum comes when all else that goes in is there.
    assert [(fit.call, fit.value) for fit in made.blueprint.fits][-1] == ("a_end0", "sum0")
    assert sorted(names(made.body)) == ["a0", "a_end0", "b0", "b_end0"]
    assert np.isfinite(error(made.body, chain))
