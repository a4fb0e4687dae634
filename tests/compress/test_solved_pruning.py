"""Pruning in closed form: what it costs, against magnitude, and what it leaves alone."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import assert_close, trained
from student_cases import chain_of

from kgraft.compress import solved_pruning
from kgraft.compress.solved_pruning import fold_student, solvable_layers, solve_pruned
from kgraft.data.preprocess import preprocess
from kgraft.grafting import ViewBank
from kgraft.students.sparse import Sparsity

from .conftest import SHAPE, make_model

HALF = Sparsity(0.5)
KERNELS = ("conv1", "conv2", "conv3", "logits")


def bank_of(model, views, preprocessing="none"):
    return ViewBank(views, chain=chain_of(model), preprocess=preprocessing)


def with_weights(model, weights):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name, arrays in weights.items():
        copy.get_layer(name).set_weights(arrays)
    return copy


def logits(model, bank):
    return np.asarray(model(np.asarray(preprocess(bank.views, bank.preprocess), "float32")))


def miss(model, other, bank):
    return np.square(logits(model, bank) - logits(other, bank)).mean()


def by_magnitude(model, names):
    weights = {}
    for name in names:
        kernel, *rest = model.get_layer(name).get_weights()
        bound = np.median(np.abs(kernel))
        weights[name] = [np.where(np.abs(kernel) > bound, kernel, 0), *rest]
    return with_weights(model, weights)


@pytest.fixture(scope="module")
def student():
    return make_model(2, 8)


@pytest.fixture(scope="module")
def solved(stage, student):
    return with_weights(
        student, solve_pruned(student, student, dict.fromkeys(KERNELS, HALF), stage.bank)
    )


def test_half_of_each_kernel_goes(solved, student):
    for name in KERNELS:
        kernel = np.asarray(solved.get_layer(name).kernel)
        assert np.sum(kernel == 0) == kernel.size // 2
    # Layers without a sparsity are fitted with all that they have.
    assert np.asarray(solved.get_layer("depthwise").kernel).all()
    assert student.count_params() == solved.count_params()


def test_what_is_left_says_more_of_what_the_student_said(stage, student, solved):
    magnitude = by_magnitude(student, KERNELS)
    for bank in (stage.bank, stage.heldout):
        assert miss(solved, student, bank) < 0.5 * miss(magnitude, student, bank)


def test_the_student_is_left_as_it_was(stage, student):
    before = [np.array(value) for value in student.get_weights()]
    solve_pruned(student, student, {"conv2": HALF}, stage.bank)
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_comes_after_makes_good_what_went(stage, student):
    """Fitted on what the pruned layers make, the others come nearer than if left alone."""
    weights = solve_pruned(student, student, {"conv1": Sparsity(0.8)}, stage.bank)
    alone = with_weights(student, {"conv1": weights["conv1"]})
    assert miss(with_weights(student, weights), student, stage.bank) < miss(
        alone, student, stage.bank
    )


def test_weights_that_say_what_others_say_cost_nothing():
    """Every channel is there twice: half of the weights are enough."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = kl.Conv2D(8, 3, activation="relu", name="first")(image)
    x = kl.Conv2D(6, 3, activation="relu", name="second")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, kl.Dense(5, name="logits")(x))
    kernel, bias = model.get_layer("first").get_weights()
    twice = [np.concatenate([part[..., :4]] * 2, axis=-1) for part in (kernel, bias)]
    model.get_layer("first").set_weights(twice)
    views = np.random.default_rng(0).integers(0, 256, [60, *SHAPE], "uint8")
    bank = bank_of(model, views, "tf")
    weights = solve_pruned(model, model, {"second": HALF}, bank)
    assert np.sum(weights["second"][0] == 0) == weights["second"][0].size // 2
    made = with_weights(model, weights)
    scale = np.square(logits(model, bank)).mean()
    assert miss(made, model, bank) < 5e-3 * scale
    assert miss(by_magnitude(model, ["second"]), model, bank) > 2e-2 * scale


def test_layers_without_a_loss_before_them_keep_their_weights(stage, student):
    weights = solve_pruned(student, student, {"logits": HALF}, stage.bank)
    for name in ("conv1", "depthwise", "conv2", "conv3"):
        for new, old in zip(weights[name], student.get_layer(name).get_weights(), strict=True):
            np.testing.assert_allclose(new, old, atol=1e-4)


def test_a_kernel_that_reads_too_much_is_left_alone(stage, student, monkeypatch):
    monkeypatch.setattr(solved_pruning, "MOST_SQUARED", 30)
    assert "conv3" not in solvable_layers(student) and "logits" in solvable_layers(student)
    weights = solve_pruned(student, student, dict.fromkeys(KERNELS, HALF), stage.bank)
    assert "conv3" not in weights
    assert np.sum(weights["logits"][0] == 0) == weights["logits"][0].size // 2


def test_more_views_where_maps_are_small(stage, student, monkeypatch):
    """With little memory the first layers are fitted on few views, the last on all."""
    taken, seeds = [], set()
    original = solved_pruning._solve_block

    def told(block, made, wanted, seen, *given, seed):
        taken.append((len(wanted), len(seen)))
        seeds.add(seed)
        return original(block, made, wanted, seen, *given, seed=seed)

    monkeypatch.setattr(solved_pruning, "_solve_block", told)
    monkeypatch.setattr(
        solved_pruning,
        "affordable_views",
        lambda graph: max(16, 3000 // np.prod(graph.input_shape[1:])),
    )
    weights = solve_pruned(student, student, dict.fromkeys(KERNELS, HALF), stage.bank, seed=7)
    assert taken[0] == (16, 16) and taken[-1] == (40, 40) and seeds == {7}
    assert np.isfinite(logits(with_weights(student, weights), stage.heldout)).all()


def test_norms_are_folded():
    image = keras.Input(SHAPE)
    x = kl.Conv2D(6, 3, use_bias=False, name="conv")(image)
    x = kl.ReLU(name="relu")(kl.BatchNormalization(name="norm")(x))
    x = kl.Dropout(0.5, name="drop")(kl.GlobalAveragePooling2D(name="pool")(x))
    model = trained(keras.Model(image, kl.Dense(5, name="logits")(x), name="student"))
    made = fold_student(model)
    assert [layer.name for layer in made.layers[1:]] == ["conv", "relu", "pool", "drop", "logits"]
    assert made.name == "student" and made.get_layer("conv").trainable
    images = np.random.default_rng(0).normal(size=[6, *SHAPE]).astype("float32")
    assert_close(made(images, training=False), np.asarray(model(images, training=False)))


def test_a_layer_that_is_used_twice_is_not_solved(stage):
    keras.utils.set_random_seed(6)
    image = keras.Input(SHAPE)
    shared = kl.Conv2D(6, 3, padding="same", activation="relu", name="shared")
    x = shared(kl.Conv2D(6, 3, name="first")(image))
    x = kl.GlobalAveragePooling2D(name="pool")(shared(kl.MaxPooling2D(name="half")(x)))
    model = keras.Model(image, kl.Dense(5, name="logits")(x), name="student")
    assert solvable_layers(model) == {"first", "logits"}
    settings = {"sparsity_allocation": "uniform", "compress_rate": 1e-9}
    made = dataclasses.replace(stage, student=model).run("prune", **settings)
    for name in ("first", "shared"):
        kernel = np.asarray(made.model.get_layer(name).kernel)
        assert np.sum(kernel == 0) == kernel.size // 2
