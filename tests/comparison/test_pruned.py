import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import (
    CLASSES,
    SHAPE,
    assert_close,
    conv,
    conv_norm_relu,
    images,
    plain_units,
    small_model,
    trained,
)
from student_cases import chain_of, student_of

from kgraft.comparison.pruned import check_prunable, fresh, prunable, pruned_student
from kgraft.comparison.whole import as_whole
from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.grafting.span import run_student
from kgraft.graph import clone_graph, fold_batch_norm, split_chain, trace_model
from kgraft.students import assign_recipes


def prune(chain, graft, recipe):
    recipes = assign_recipes(graft, recipe, len(chain.blocks))
    return pruned_student(chain, recipes)


def test_full_width_is_the_teacher(small_teacher):
    chain = chain_of(small_teacher)
    student = as_whole(prune(chain, "all", "width:1").blocks)
    wanted = np.asarray(chain.graph(images()))
    assert_close(run_student(student, images()), wanted)
    assert_close(fuse(student).graph(images()), wanted, 1e-4)


@pytest.mark.parametrize("graft", ["all", "0-1", "1-2"])
def test_half_width_is_the_same_network_with_and_without_adapters(small_teacher, graft):
    chain = chain_of(small_teacher)
    pruned = prune(chain, graft, "width:0.5").blocks
    wanted = np.asarray(run_student(pruned, images()))
    np.testing.assert_allclose(run_student(as_whole(pruned), images()), wanted, atol=1e-4)
    np.testing.assert_allclose(fuse(pruned).graph(images()), wanted, atol=1e-3)


def test_the_largest_filters_stay_with_their_weights():
    model = small_model("plain")
    pruned = prune(chain_of(model, 1), "all", "width:0.5")
    full, thin = (dict_of(layers) for layers in (model.layers, pruned.blocks[0].body.layers))
    sizes = np.abs(full["conv1"].get_weights()[0]).sum((0, 1, 2))
    largest = np.sort(np.argsort(-sizes)[:4])
    np.testing.assert_array_equal(pruned.kept["conv1"], largest)
    kernel, bias = full["conv1"].get_weights()
    np.testing.assert_array_equal(thin["conv1"].get_weights()[0], kernel[..., largest])
    np.testing.assert_array_equal(thin["conv1"].get_weights()[1], bias[largest])
    after = full["conv2"].get_weights()[0][:, :, largest][..., pruned.kept["conv2"]]
    np.testing.assert_array_equal(thin["conv2"].get_weights()[0], after)


def dict_of(layers):
    return {layer.name: layer for layer in layers}


def test_fresh_weights_have_the_same_shapes_and_keep_what_no_training_changes():
    pruned = prune(chain_of(small_model("residual")), "1-2", "width:0.5")
    made = fresh(pruned)
    for old, new in zip(pruned.blocks, made, strict=True):
        assert new.kept == old.kept
        pairs = zip(old.body.variables, new.body.variables, strict=True)
        assert all(a.shape == b.shape and (old.kept or a is not b) for a, b in pairs)
        assert (old.entry is None, old.exit is None) == (new.entry is None, new.exit is None)
    kernels = [
        next(layer.kernel for layer in blocks[1].body.layers if hasattr(layer, "kernel"))
        for blocks in (pruned.blocks, made)
    ]
    assert not np.allclose(*kernels)


@pytest.fixture(scope="module")
def deep():
    """A teacher of one stage with four residual units, whole and cut behind its stem."""
    model = stage_model(4)
    return split_chain(trace_model(model), ("stem_relu",))


def stage_model(units):
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = conv_norm_relu(image, 6, name="stem")
    for unit in range(units):
        y = conv_norm_relu(x, 6, name=f"unit{unit}_a")
        y = kl.BatchNormalization(name=f"unit{unit}_norm")(conv(y, 6, name=f"unit{unit}_b"))
        x = kl.ReLU(name=f"unit{unit}_out")(kl.Add(name=f"unit{unit}_add")([x, y]))
    pooled = kl.GlobalAveragePooling2D(name="pool")(x)
    return trained(keras.Model(image, kl.Dense(CLASSES, name="logits")(pooled)))


def test_depth_keeps_the_first_unit_of_each_group_with_its_weights(deep):
    pruned = prune(deep, "1", "depth:2")
    student = fuse(as_whole(pruned.blocks)).graph
    added = {call.name for call in pruned.blocks[1].body.calls if "add" in call.name}
    assert len(added) == 2
    assert "unit0_add" in added
    shorter = trace_model(stage_model(2))
    folded, _ = fold_batch_norm(clone_graph(shorter, trainable=False))
    assert student.parameters == folded.parameters
    for unit in (name.removesuffix("_add") for name in added):
        kernel = pruned.blocks[1].body.call(f"{unit}_a").op.kernel
        np.testing.assert_array_equal(kernel, deep.graph.call(f"{unit}_a").op.kernel)


def test_inner_thins_between_the_sums_alone(deep):
    body = prune(deep, "1", "inner:0.5").blocks[1].body
    assert body.call("unit1_a").op.filters == 3
    assert body.call("unit1_b").op.filters == 6
    assert prune(deep, "1", "inner:0.5").blocks[1].entry is None


@pytest.mark.parametrize("recipe", ["inner:0.5", "width:0.5"])
def test_a_hard_swish_is_thinned_as_our_own_students_is(recipe):
    """A number added makes no sum."""
    image = keras.Input((8, 8, 3))
    stem = conv(image, 8, name="stem", activation="relu")
    y = conv(stem, 16, name="wide")
    y = conv(y * kl.ReLU(6.0)(y + 3.0) * (1 / 6), 8, name="narrow")
    x = kl.Add(name="sum")([stem, y])
    chain = split_chain(trace_model(trained(keras.Model(image, kl.Flatten()(x)))), ("stem",))
    pruned = prune(chain, "1", recipe).blocks[1].body
    ours = student_of(chain, graft="1", recipe=recipe)[1].body
    for name in ("wide", "narrow"):
        assert pruned.call(name).op.filters == ours.call(name).op.filters
    assert pruned.call("wide").op.filters == 8


def test_units_without_an_addition_cannot_be_left_out():
    chain = split_chain(trace_model(plain_units(4)), ("stem",))
    message = r"depth:2 can only leave out units that end in an addition, and those of block1 \("
    with pytest.raises(KgraftError, match=message):
        check_prunable(chain, assign_recipes("1", "depth:2", 2))


def test_the_teacher_does_not_change():
    model = small_model("residual")
    before = [np.array(v) for v in model.variables]
    prune(chain_of(model), "all", "width:0.5")
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_student_model_cannot_be_pruned():
    chain = chain_of(small_model("residual"))
    own = assign_recipes("1-2", "own.keras", 4)
    with pytest.raises(KgraftError, match=r"every block needs a recipe .*; block 1 has model$"):
        check_prunable(chain, own)
    assert not prunable(chain, own)
    assert prunable(chain, assign_recipes("1-2", "width:0.5", 4))
