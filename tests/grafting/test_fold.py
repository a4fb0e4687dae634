"""Adapters folded into their neighbours, exactly and at borders too."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl
from small_models import assert_close, images, trained

from kgraft.grafting.fold import (
    CannotFoldError,
    Folding,
    can_absorb_at,
    fold_backward,
    fold_forward,
    fold_into_reader_kernel,
    merge,
)
from kgraft.graph import clone_op, rebuild, trace_model

SHAPE = (7, 6, 4)


def adapter(width, name="adapter", rank=4):
    if rank == 2:
        return kl.Dense(width, use_bias=False, name=name)
    return kl.Conv2D(width, 1, use_bias=False, name=name)


def folding_of(build, shape=SHAPE):
    image = keras.Input(shape)
    return Folding(trace_model(trained(keras.Model(image, build(image)))))


def made(folding):
    """The folded graph with layers that have the weights written down."""
    graph = rebuild(
        folding.graph, lambda call: clone_op(call.op, **folding.overrides.get(call.name, {}))
    )
    for old, new in zip(folding.graph.calls, graph.calls, strict=True):
        if new.op.weights:
            new.op.set_weights(folding.of(old))
    return graph


def fold_with(fold, folding, shape=SHAPE):
    """Folds the call `adapter` and checks every place of the output, borders included."""
    x = images(3, shape)
    wanted = np.asarray(folding.graph(x))
    folded = fold(folding, folding.graph.call("adapter"))
    graph = made(folding)
    assert "adapter" not in {call.name for call in graph.calls}
    assert_close(graph(x), wanted)
    return folded


READERS = {
    "convolution": lambda x: kl.Conv2D(5, 3, padding="same", name="reader")(x),
    "convolution of stride 2": lambda x: kl.Conv2D(
        5, 3, strides=2, padding="same", use_bias=False, activation="relu", name="reader"
    )(x),
    "dilated convolution": lambda x: kl.Conv2D(
        5, 3, dilation_rate=2, padding="same", name="reader"
    )(x),
    "dense on maps": lambda x: kl.Dense(5, activation="tanh", name="reader")(x),
    "padding, then convolution": lambda x: kl.Conv2D(5, 3, name="reader")(kl.ZeroPadding2D(2)(x)),
    "pool, then dense": lambda x: kl.Dense(5, name="reader")(kl.GlobalAveragePooling2D()(x)),
    "pool that keeps dimensions, then convolution": lambda x: kl.Conv2D(5, 1, name="reader")(
        kl.GlobalAveragePooling2D(keepdims=True)(x)
    ),
    "pool, then reshape, then convolution": lambda x: kl.Conv2D(5, 1, name="reader")(
        kl.Reshape((1, 1, 6), name="reshape")(kl.GlobalAveragePooling2D()(x))
    ),
    "flattened, then dense": lambda x: kl.Dense(5, name="reader")(kl.Flatten()(x)),
    "small pool, flattened, then dense": lambda x: kl.Dense(5, name="reader")(
        kl.Flatten()(kl.AveragePooling2D(2, padding="same")(x))
    ),
    "cropped and enlarged": lambda x: kl.Conv2D(5, 3, name="reader")(
        kl.UpSampling2D(2, interpolation="bilinear")(kl.Cropping2D(1)(x))
    ),
    "dropout, then convolution": lambda x: kl.Conv2D(5, 3, name="reader")(kl.Dropout(0.5)(x)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_forward_into_what_reads_it(read):
    folding = folding_of(lambda x: read(adapter(6)(x)))
    assert can_absorb_at(folding.graph, "adapter")
    assert fold_with(fold_forward, folding) == ("reader",)


def test_forward_into_all_that_read_it():
    def build(x):
        x = adapter(6)(x)
        long = kl.Conv2D(5, 3, padding="same", name="long")(x)
        short = kl.Conv2D(5, 1, name="short")(x)
        return kl.Add()([long, short])

    assert fold_with(fold_forward, folding_of(build)) == ("long", "short")


def test_readers_behind_a_pool_take_an_adapter_in_whatever_they_weigh():
    """They look at one place, where the adapter would look at all of them."""

    def build(x):
        return kl.Dense(50, name="reader")(kl.GlobalAveragePooling2D()(adapter(2)(x)))

    folding = folding_of(build)
    assert 4 * 50 > 2 * 50 + 4 * 2
    assert fold_with(fold_forward, folding) == ("reader",)


def test_forward_of_a_vector():
    folding = folding_of(lambda x: kl.Dense(5, name="reader")(adapter(3, rank=2)(x)), (6,))
    assert fold_with(fold_forward, folding, (6,)) == ("reader",)


@given(
    seed=st.integers(0, 2**16),
    window=st.sampled_from([(), (1, 1), (3, 3), (2, 3)]),
    widths=st.tuples(*[st.integers(1, 4)] * 4),
)
@settings(max_examples=30, deadline=None)
def test_kernels_of_any_size_take_a_map_in(seed, window, widths):
    incoming, mid, places, out = widths
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(incoming, mid))
    kernel = rng.normal(size=(*window, places * mid, out))
    x = rng.normal(size=(5, places, incoming))
    wanted = np.reshape(x @ matrix, (5, -1)) @ kernel
    got = x.reshape(5, -1) @ fold_into_reader_kernel(matrix, kernel)
    np.testing.assert_allclose(got, wanted, atol=1e-10)


CANNOT = {
    "depthwise": (
        lambda x: kl.DepthwiseConv2D(3, name="filter")(x),
        "filter (DepthwiseConv2D) reads it and cannot take it in",
    ),
    "activation": (
        lambda x: kl.ReLU(name="relu")(x),
        "relu (ReLU) reads it and cannot take it in",
    ),
    "maximum": (
        lambda x: kl.MaxPooling2D(name="down")(x),
        "down (MaxPooling2D) reads it and cannot take it in",
    ),
    "groups": (
        lambda x: kl.Conv2D(3, 3, groups=3, name="grouped")(x),
        "grouped (Conv2D) reads it and cannot take it in",
    ),
    "separable": (
        lambda x: kl.SeparableConv2D(3, 3, name="apart")(x),
        "apart (SeparableConv2D) reads it and cannot take it in",
    ),
    "places become channels": (
        lambda x: kl.Dense(2)(kl.Reshape((7, 18), name="rows")(x)),
        "rows (Reshape) reads it and cannot take it in",
    ),
    "one reader of two": (
        lambda x: kl.Add()([
            kl.Conv2D(3, 1, name="good")(x),
            kl.Activation("tanh", name="bad")(x),
        ]),
        "bad (Activation) reads it and cannot take it in",
    ),
    "output": (lambda x: x, "it makes the output"),
    "costly": (
        lambda x: kl.Add()([kl.Conv2D(5, 3, name="a")(x), kl.Conv2D(5, 3, name="b")(x)]),
        "folded into a, b it would cost more than it does alone",
    ),
    "pooled output": (lambda x: kl.GlobalAveragePooling2D(name="pool")(x), "it makes the output"),
}


@pytest.mark.parametrize(("read", "why"), CANNOT.values(), ids=CANNOT)
def test_forward_is_refused_with_the_reason(read, why):
    folding = folding_of(lambda x: read(adapter(3)(x)))
    graph = folding.graph
    with pytest.raises(CannotFoldError) as error:
        fold_forward(folding, graph.call("adapter"))
    assert str(error.value) == why
    assert can_absorb_at(graph, "adapter") == ("cost" in why)
    assert (folding.graph, folding.weights, folding.overrides) == (graph, {}, {})


def test_a_shared_reader_takes_none_in():
    def build(x):
        reader = kl.Conv2D(3, 3, padding="same", name="reader")
        return reader(reader(adapter(3)(x)))

    folding = folding_of(build)
    with pytest.raises(CannotFoldError, match=r"^reader reads it and is a shared layer$"):
        fold_forward(folding, folding.graph.call("adapter"))


WRITERS = {
    "convolution": lambda x: kl.Conv2D(5, 3, padding="same", name="writer")(x),
    "without bias": lambda x: kl.Conv2D(5, 3, strides=2, use_bias=False, name="writer")(x),
    "dense on maps": lambda x: kl.Dense(5, name="writer")(x),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_backward_into_what_makes_its_input(write):
    folding = folding_of(lambda x: kl.ReLU(name="relu")(adapter(3)(write(x))))
    assert fold_with(fold_backward, folding) == "writer"
    assert made(folding).shapes["writer"][-1] == 3


def test_backward_of_a_vector():
    folding = folding_of(lambda x: adapter(3, rank=2)(kl.Dense(5, name="writer")(x)), (6,))
    assert fold_with(fold_backward, folding, (6,)) == "writer"


BACKWARD = {
    "activation": (
        lambda x: adapter(3)(kl.Conv2D(5, 3, activation="relu", name="writer")(x)),
        "writer has an activation at its end",
    ),
    "layer that is not linear": (
        lambda x: adapter(3)(kl.MaxPooling2D(name="down")(x)),
        "down (MaxPooling2D) makes its input and is not linear",
    ),
    "depthwise": (
        lambda x: adapter(3)(kl.DepthwiseConv2D(3, name="filter")(x)),
        "filter (DepthwiseConv2D) makes its input and is not linear",
    ),
    "input": (lambda x: adapter(3)(x), "input is needed without it too"),
    "costly": (
        lambda x: adapter(9)(kl.Conv2D(5, 3, name="writer")(x)),
        "folded into writer it would cost more than it does alone",
    ),
}


@pytest.mark.parametrize(("build", "why"), BACKWARD.values(), ids=BACKWARD)
def test_backward_is_refused_with_the_reason(build, why):
    folding = folding_of(build)
    graph = folding.graph
    with pytest.raises(CannotFoldError) as error:
        fold_backward(folding, graph.call("adapter"))
    assert str(error.value) == why
    assert (folding.graph, folding.weights, folding.overrides) == (graph, {}, {})


def test_backward_needs_a_writer_of_its_own():
    def needed(x):
        x = kl.Conv2D(4, 3, padding="same", name="writer")(x)
        return kl.Add()([x, adapter(4)(x)])

    def shared(x):
        writer = kl.Conv2D(4, 3, padding="same", name="writer")
        return adapter(3)(writer(writer(x)))

    for build, why in (
        (needed, "writer is needed without it too"),
        (shared, "writer#2 makes its input and is a shared layer"),
    ):
        folding = folding_of(build)
        with pytest.raises(CannotFoldError) as error:
            fold_backward(folding, folding.graph.call("adapter"))
        assert str(error.value) == why


@pytest.mark.parametrize("rank", [2, 4])
def test_adapters_that_meet_are_merged(rank):
    shape = SHAPE if rank == 4 else (4,)

    def build(x):
        return adapter(5, rank=rank)(adapter(3, "before", rank=rank)(x))

    folding = folding_of(build, shape)
    x = images(3, shape)
    wanted = np.asarray(folding.graph(x))
    merge(folding, folding.graph.call("before"), folding.graph.call("adapter"))
    assert [call.name for call in folding.graph.calls] == ["adapter"]
    assert folding.matrix(folding.graph.call("adapter")).shape == (4, 5)
    assert_close(made(folding)(x), wanted)


def test_two_adapters_fold_into_one_layer():
    def build(x):
        x = kl.Conv2D(5, 3, padding="same", name="layer")(adapter(6, "first")(x))
        return kl.ReLU()(adapter(2, "second")(x))

    folding = folding_of(build)
    x = images(3, SHAPE)
    wanted = np.asarray(folding.graph(x))
    fold_forward(folding, folding.graph.call("first"))
    fold_backward(folding, folding.graph.call("second"))
    graph = made(folding)
    assert tuple(graph.call("layer").op.kernel.shape) == (3, 3, 4, 2)
    assert_close(graph(x), wanted)


def test_folding_leaves_the_layers_themselves_alone():
    folding = folding_of(lambda x: kl.Conv2D(5, 3, name="reader")(adapter(6)(x)))
    reader = folding.graph.call("reader").op
    before = np.array(reader.kernel)
    fold_forward(folding, folding.graph.call("adapter"))
    np.testing.assert_array_equal(reader.kernel, before)


def test_an_activation_that_is_a_layer_is_one():
    def build(x):
        x = kl.Conv2D(3, 3, activation=kl.LeakyReLU(0.1), name="writer")(x)
        return kl.MaxPooling2D(name="reader")(adapter(5)(x))

    folding = folding_of(build)
    with pytest.raises(CannotFoldError, match="writer has an activation at its end"):
        fold_backward(folding, folding.graph.call("adapter"))


def test_a_reader_may_have_weights_in_its_activation_but_no_kernel_of_its_own_making():
    class Standardized(kl.Conv2D):
        pass

    def build(x):
        return kl.Conv2D(5, 3, activation=kl.PReLU(), name="reader")(adapter(5)(x))

    assert fold_with(fold_forward, folding_of(build)) == ("reader",)
    folding = folding_of(lambda x: Standardized(5, 3, name="reader")(adapter(5)(x)))
    with pytest.raises(CannotFoldError, match=r"reader \(Standardized\) reads it"):
        fold_forward(folding, folding.graph.call("adapter"))
