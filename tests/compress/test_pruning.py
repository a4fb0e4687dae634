"""Which kernels are pruned, and how the sparsity rises."""

import keras
import pytest
from keras import layers as kl

from kgraft.compress import check_compressible, load_tfmot, to_tf_keras
from kgraft.compress.pruning import pruning_left, wrap_pruning
from kgraft.compress_config import CompressConfig
from kgraft.errors import KgraftError


def test_kernels_of_few_weights_are_left_alone():
    image = keras.Input((8, 8, 3))
    x = kl.Conv2D(96, 3, name="conv1")(image)
    x = kl.GlobalAveragePooling2D(name="pool")(kl.Conv2D(96, 3, name="conv2")(x))
    model = keras.Model(image, kl.Dense(4, name="logits")(x))
    wrapped = wrap_pruning(to_tf_keras(model), CompressConfig("prune"), ())
    assert wrapped.layers == ("conv1", "conv2")
    (left,) = wrapped.left
    assert left.name == "logits"
    assert left.why.endswith("of the smallest, which together have less than 1 % of the weights")


def test_the_small_kernels_of_a_deep_network_are_pruned():
    # Each of them has less than 0.5 % of the weights.
    image = keras.Input((4, 4, 8))
    x = image
    for number in range(220):
        x = kl.Conv2D(8, 1, name=f"conv{number}")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, kl.Dense(8, name="logits")(x))
    left = pruning_left(to_tf_keras(model), CompressConfig("prune"))
    assert [layer.name for layer in left] == ["conv0", "conv1"]


@pytest.mark.parametrize("steps", [4, 12, 100, 800])
def test_the_sparsity_is_reached_while_half_of_the_steps_are_left(steps):
    load_tfmot()
    image = keras.Input((8,))
    model = keras.Model(image, kl.Dense(4, name="logits")(image))
    settings = {"sparsity_schedule": "polynomial", "compress_steps": steps}
    config = CompressConfig("prune", sparsity=0.75, **settings)
    wrapped = wrap_pruning(to_tf_keras(model), config, ())
    (layer,) = [layer for layer in wrapped.model.layers if hasattr(layer, "pruning_schedule")]
    due, sparsity = layer.pruning_schedule(wrapped.settled)
    assert bool(due) and float(sparsity) == 0.75
    assert wrapped.settled <= steps // 2 + 1
    assert float(layer.pruning_schedule(1)[1]) == 0.0


def convolutions(filters):
    image = keras.Input((8, 8, 3))
    x = kl.DepthwiseConv2D(3, name="depthwise")(image)
    return keras.Model(image, kl.GlobalAveragePooling2D()(kl.Conv2D(filters, 1, name="conv")(x)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"compress": "prune", "sparsity_pattern": "block"},
            "--sparsity_pattern=block would leave every kernel .*: block sparsity is .*; give ot",
        ),
        (
            {"compress": "cluster", "clusters": 64},
            "--clusters=64 would leave every kernel .*: clustering is .*; its kernel has no more",
        ),
        (
            {
                "compress": "prune+cluster",
                "sparsity_allocation": "uniform",
                "clusters": 10,
            },
            "--clusters=10 would leave every kernel .*: .*; pruning leaves its kernel fewer than",
        ),
        (
            {"compress": "prune+cluster", "sparsity_pattern": "2:4", "clusters": 10},
            "--clusters=10 would leave every kernel .*: .*; pruning leaves its kernel fewer than",
        ),
        (
            {"compress": "prune+cluster", "clusters": 10},
            "--clusters=10 would leave every kernel .*: .*; pruning leaves its kernel fewer than",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(settings, message):
    with pytest.raises(KgraftError, match=message) as error:
        check_compressible(convolutions(6), CompressConfig(**settings))
    assert "\n" not in str(error.value)
    check_compressible(convolutions(6), CompressConfig("prune+cluster", clusters=9))
