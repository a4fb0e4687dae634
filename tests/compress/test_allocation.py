"""How a sparsity is shared out among kernels."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers as kl

from kgraft.compress import to_tf_keras
from kgraft.compress.allocation import lamp_sparsities
from kgraft.compress.pruning import wrap_pruning
from kgraft.compress_config import CompressConfig


def kernels(seed, sizes):
    random = np.random.default_rng(seed)
    return {f"layer{n}": random.normal(size=(size, 2)) for n, size in enumerate(sizes)}


SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
SPARSITIES = st.floats(0.01, 0.99)


@given(st.integers(0, 99), SIZES, SPARSITIES)
def test_all_kernels_together_lose_what_was_asked_for(seed, sizes, sparsity):
    found = kernels(seed, sizes)
    shares = lamp_sparsities(found, sparsity)
    total = sum(kernel.size for kernel in found.values())
    gone = sum(shares[name] * kernel.size for name, kernel in found.items())
    # The largest weight of each stays.
    assert gone == pytest.approx(min(round(sparsity * total), total - len(found)))
    assert max(shares.values()) < 1


@given(st.integers(0, 99), SIZES, SPARSITIES)
def test_the_weights_that_go_have_lower_scores_than_those_that_stay(seed, sizes, sparsity):
    found = kernels(seed, sizes)
    shares = lamp_sparsities(found, sparsity)
    go, stay = [], []
    for name, kernel in found.items():
        weights = sorted(np.abs(kernel.ravel()))
        # As the paper defines it, weight by weight.
        scores = [w**2 / sum(v**2 for v in weights[n:]) for n, w in enumerate(weights)]
        gone = round(shares[name] * kernel.size)
        go += scores[:gone]
        stay += scores[gone:]
    assert max(go, default=0) <= min(stay, default=1) + 1e-6


@given(st.integers(0, 99), st.floats(0.01, 100))
def test_the_scale_of_a_kernel_does_not_matter(seed, factor):
    found = kernels(seed, [10, 20])
    scaled = {**found, "layer1": factor * found["layer1"]}
    assert lamp_sparsities(scaled, 0.5) == pytest.approx(lamp_sparsities(found, 0.5))


def test_wide_kernels_are_thinned_most():
    shares = lamp_sparsities(kernels(0, [10, 1000]), 0.5)
    assert shares["layer0"] < 0.2 < 0.5 < shares["layer1"]


def test_kernels_of_zeros_go_first():
    shares = lamp_sparsities({"dead": np.zeros(10), "alive": np.arange(1.0, 11.0)}, 0.5)
    assert shares == {"dead": 0.9, "alive": 0.0}


@pytest.mark.parametrize(
    ("settings", "alike"),
    [
        ({}, False),
        ({"sparsity_allocation": "uniform"}, True),
        ({"sparsity_pattern": "2:4"}, True),
    ],
)
def test_which_pruning_takes_the_same_share_of_each_kernel(settings, alike):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 4))
    x = kl.Conv2D(64, 3, name="wide")(kl.Conv2D(8, 3, name="thin")(image))
    model = keras.Model(image, kl.Dense(4, name="logits")(kl.GlobalAveragePooling2D()(x)))
    config = CompressConfig("prune", sparsity_schedule="polynomial", **settings)
    wrapped = wrap_pruning(to_tf_keras(model), config, ())
    shares = {
        layer.layer.name: layer.pruning_schedule.final_sparsity
        for layer in wrapped.model.layers
        if hasattr(layer, "pruning_schedule")
    }
    assert (shares["thin"] == shares["wide"] == 0.5) is alike
    if not alike:
        assert shares["thin"] < 0.5 < shares["wide"]


def test_a_sparsity_of_nearly_all_keeps_a_weight_of_each_kernel():
    image = keras.Input((6,))
    model = keras.Model(image, kl.Dense(4, name="logits")(kl.Dense(5, name="dense")(image)))
    config = CompressConfig("prune", sparsity=0.9999, sparsity_schedule="polynomial")
    wrapped = wrap_pruning(to_tf_keras(model), config, ())
    found = {
        layer.layer.name: layer.pruning_schedule.final_sparsity
        for layer in wrapped.model.layers
        if hasattr(layer, "pruning_schedule")
    }
    assert found == {"dense": 29 / 30, "logits": 19 / 20}
