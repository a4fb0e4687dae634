"""Blocks rounded as an int8 file is: the grids, what they commute with, and training on them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from grafting_cases import GraftFactory, read_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl
from small_models import assert_close, images, trained

from kgraft.grafting import Phase, train_phase
from kgraft.grafting.fake_quant import (
    Int8Emulation,
    fake_int8,
    int8_kernels,
    kernels_of,
    rounded_values,
)
from kgraft.grafting.span import Objective, Reads, run_block
from kgraft.graph import fold_batch_norm, trace_model

_PHASE = Phase("one/block1", 1, 2, 24, 1e-2, 1e-2, batch=8)
_ALL = dataclasses.replace(_PHASE, name="two/blocks0-2", start=0, stop=3, stage=2)
SHAPE = (6, 5, 4)

# Shapes of kernels, and which of their axes are output channels.
KERNELS = {
    "convolution": ((3, 3, 4, 5), (-1,)),
    "dense": ((7, 5), (-1,)),
    "depthwise": ((3, 3, 4, 2), (-2, -1)),
    "transposed": ((3, 3, 5, 4), (-2,)),
}


def channels_last(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The kernel as `[weights, channels]`."""
    front = [axis for axis in range(kernel.ndim) if axis - kernel.ndim not in axes]
    back = [axis + kernel.ndim for axis in axes]
    count = int(np.prod([kernel.shape[axis] for axis in back]))
    return np.transpose(kernel, [*front, *back]).reshape(-1, count)


def spread_over(scale: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """One number for each output channel, in a form that multiplies a kernel."""
    return scale.reshape([n if i - len(shape) in axes else 1 for i, n in enumerate(shape)])


def rounded(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return fake_int8(tf.constant(kernel, tf.float32), axes).numpy()


@pytest.mark.parametrize(("shape", "axes"), KERNELS.values(), ids=KERNELS)
def test_each_channel_has_the_grid_of_its_largest_weight(shape, axes) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype("float32")
    made, exact = (channels_last(k, axes) for k in (rounded(kernel, axes), kernel))
    scale = np.abs(exact).max(axis=0) / 127
    numbers = made / scale
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-4)
    np.testing.assert_allclose(np.abs(numbers).max(axis=0), 127, rtol=1e-5)
    assert np.all(np.abs(made - exact) <= 0.5001 * scale)
    assert np.abs(made - exact).max() > 0.3 * scale.min()


def test_a_channel_of_zeros_stays_one() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    kernel[:, 2] = 0
    made = rounded(kernel, (-1,))
    assert np.all(made[:, 2] == 0) and np.all(made[:, 1] != 0)


@given(kind=st.sampled_from(sorted(KERNELS)), seed=st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_a_factor_for_each_output_channel_commutes_with_rounding(kind, seed) -> None:
    """What folding a BatchNorm does to a kernel, whatever its size and sign."""
    shape, axes = KERNELS[kind]
    rng = np.random.default_rng(seed)
    # A third of a step off the grid at most, where no difference in the last bit turns a rounding.
    numbers = rng.integers(-126, 127, shape) + rng.uniform(-0.33, 0.33, shape)
    count = int(np.prod([shape[axis] for axis in axes]))
    first = tuple(slice(None) if i - len(shape) in axes else 0 for i in range(len(shape)))
    numbers[first] = rng.choice([-127, 127], numbers[first].shape)
    steps = spread_over(rng.uniform(1e-3, 1.0, count), shape, axes)
    factors = spread_over(rng.uniform(0.01, 30, count) * rng.choice([-1, 1], count), shape, axes)
    kernel = (numbers * steps).astype("float32")
    folded_then_rounded = rounded((kernel * factors).astype("float32"), axes)
    np.testing.assert_allclose(folded_then_rounded, rounded(kernel, axes) * factors, rtol=1e-5)


FOLDED = {
    "convolution": [kl.Conv2D(5, 3, padding="same", use_bias=False)],
    "depthwise": [kl.DepthwiseConv2D(3, padding="same", depth_multiplier=2)],
    "transposed": [kl.Conv2DTranspose(5, 3, strides=2)],
    "dense": [kl.Flatten(), kl.Dense(6)],
}


@pytest.mark.parametrize("layers", FOLDED.values(), ids=FOLDED)
def test_rounding_an_unfolded_kernel_is_rounding_the_folded_one(layers) -> None:
    x = image = keras.Input(SHAPE)
    for layer in [*layers, kl.BatchNormalization()]:
        x = layer(x)
    graph = trace_model(trained(keras.Model(image, x)))
    graph.layers[-1].gamma.assign(graph.layers[-1].gamma * -1)
    folded, left = fold_batch_norm(graph)
    assert not left
    outputs = []
    for one in (graph, folded):
        values = {one.input: images(4, SHAPE)}
        for call in one.calls:
            with int8_kernels(call.op):
                values.update(zip(call.outputs, call.run(values, False), strict=True))
        outputs.append(np.asarray(values[one.output]))
    assert_close(outputs[1], outputs[0])
    assert np.abs(outputs[0] - np.asarray(graph(images(4, SHAPE)))).max() > 1e-4


def test_gradients_pass_rounding_as_if_there_were_none() -> None:
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 4, 2)), tf.float32)
    weights = tf.constant(np.random.default_rng(1).normal(size=(3, 3, 4, 2)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = tf.reduce_sum(fake_int8(kernel, (-2, -1)) * weights)
    np.testing.assert_array_equal(tape.gradient(value, kernel), weights)


def test_variables_are_left_as_they_are() -> None:
    layer = kl.SeparableConv2D(5, 3)
    layer.build((None, *SHAPE))
    before = [v.numpy() for v in layer.variables]
    x = images(2, SHAPE)
    exact = layer(x)
    with pytest.raises(RuntimeError), int8_kernels(layer):
        assert np.abs(layer(x) - exact).max() > 1e-5
        raise RuntimeError
    np.testing.assert_array_equal(layer(x), exact)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, layer.variables, strict=True))
    assert [axes for _, axes in kernels_of(layer)] == [(-2, -1), (-1,)]
    assert kernels_of(kl.ReLU()) == kernels_of(keras.ops.add) == []


def test_values_that_a_file_keeps_in_a_range_of_their_own() -> None:
    def build(x):
        x = kl.Conv2D(4, 3, padding="same", name="conv")(x)
        x = kl.ReLU(name="relu")(kl.BatchNormalization(name="norm")(x))
        x = kl.MaxPooling2D(name="down")(x)
        y = kl.Conv2D(4, 3, padding="same", activation="relu", name="own")(x)
        y = kl.BatchNormalization(name="late")(y)
        x = kl.Activation("relu", name="out")(kl.Add(name="sum")([x, y]))
        x = kl.Activation("swish", name="swish")(x)
        x = kl.Conv2D(4, 1, activation="relu", name="reads")(kl.Conv2D(4, 1, name="linear")(x))
        return kl.Dense(3, name="logits")(kl.Flatten(name="flat")(x))

    image = keras.Input((6, 6, 3))
    graph = trace_model(keras.Model(image, build(image)))
    values = ("relu", "own", "late", "out", "swish", "linear", "reads", "logits")
    assert rounded_values(graph) == values


def _emulated(made: dict, phase: Phase) -> Int8Emulation:
    emulation = Int8Emulation(phase, made["student"], made["bank"], strategy=made["strategy"])
    emulation.measure()
    return emulation


def _grid(value: np.ndarray) -> np.ndarray:
    """The numbers of int8 that a tensor holds, from the range that it has."""
    low, high = min(value.min(), 0.0), max(value.max(), 0.0)
    return np.round((value - low) / ((high - low) / 255))


def test_a_block_is_rounded_by_hand(graft: GraftFactory) -> None:
    made = graft()
    block, entry = made["student"][1], made["bank"].activation(1)
    emulation = _emulated(made, _PHASE)
    found = emulation.body(block, block.entry(entry), False).numpy()
    assert len(np.unique(found)) <= 256
    conv = block.body.layers[0]
    kernel = fake_int8(tf.convert_to_tensor(conv.kernel.value), (-1,))
    exact = tf.nn.relu(tf.nn.conv2d(block.entry(entry), kernel, 1, "SAME") + conv.bias).numpy()
    ranged = np.asarray(block.body(block.entry(entry)))
    step = ranged.max() / 255
    inside = exact <= ranged.max()
    assert np.abs(found - exact)[inside].max() <= 0.501 * step
    # Adapters are not rounded: folding does away with them.
    whole = run_block(block, entry, training=False, body=emulation.body)
    np.testing.assert_array_equal(whole, block.exit(found))


def test_kept_blocks_and_those_that_train_statistics(graft: GraftFactory) -> None:
    made = graft(kept=(0,), batchnorm=True)
    emulation = _emulated(made, _ALL)
    kept, trains, last = made["student"]
    x = made["bank"].activation(0)
    np.testing.assert_array_equal(emulation.body(kept, x, False), kept.body(x))
    x = trains.entry(made["bank"].activation(1))
    found = emulation.body(trains, x, False).numpy()
    with int8_kernels(trains.body.layers[0]):
        # Kernels alone: what their activations are at inference is not known while they train.
        np.testing.assert_allclose(found, trains.body(x), rtol=1e-6)
    assert len(np.unique(found)) > 256
    logits = emulation.body(last, made["bank"].activation(2), False).numpy()
    np.testing.assert_allclose(np.round(_grid(logits)), _grid(logits))
    assert len(np.unique(logits)) < logits.size


@pytest.mark.parametrize("phase", [_PHASE, _ALL], ids=lambda p: p.name)
def test_a_rounded_student_learns_and_is_chosen_rounded(
    graft: GraftFactory, batchnorm: bool, phase: Phase
) -> None:
    made = graft(batchnorm=batchnorm)
    frozen = [v.numpy() for v in made["chain"].graph.variables]
    result = train_phase(phase, **made, fake_quant="int8")
    assert result.fake_quant == "int8"
    assert result.heldout_loss_end < 0.8 * result.heldout_loss_start
    for before, variable in zip(frozen, made["chain"].graph.variables, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    assert {weights.dtype for weights in read_weights(made["student"])} == {np.dtype("float32")}
    # The loss that the weights were kept for is that of the rounded student, measured here anew.
    heldout = made["heldout"]
    reads = Reads.of(phase, heldout, features=True)
    graft_of = (phase, made["chain"], made["student"], reads, "unit", made["loss"], 0.5)
    losses = {}
    for name, body in (("int8", _emulated(made, phase).body), ("float", None)):
        objective = Objective(*graft_of, *([body] if body else []))
        losses[name] = float(np.mean(objective(reads.data(heldout), training=False)[0]))
    assert losses["int8"] == pytest.approx(result.heldout_loss_end, rel=1e-4)
    assert losses["float"] != pytest.approx(result.heldout_loss_end, rel=1e-4)


def test_without_it_nothing_is_rounded(graft: GraftFactory) -> None:
    runs = []
    for options in ({}, {"fake_quant": "none"}, {"fake_quant": "int8"}):
        made = graft()
        result = train_phase(dataclasses.replace(_PHASE, steps=4), **made, **options)
        runs.append((result.fake_quant, read_weights(made["student"])))
    assert [name for name, _ in runs] == ["none", "none", "int8"]
    same = [
        all(np.array_equal(a, b) for a, b in zip(runs[0][1], run[1], strict=True)) for run in runs
    ]
    assert same == [True, True, False]


def test_a_rounded_student_in_bfloat16(graft: GraftFactory) -> None:
    result = train_phase(_PHASE, **graft(), dtype="bfloat16", fake_quant="int8")
    assert result.heldout_loss_end < 0.8 * result.heldout_loss_start
