"""Biases that take back what rounding the kernels does to the mean of each channel.

A kernel rounded to int8 moves the mean of what its channels say, all images in the same direction,
so that the shifts of one layer after another add up: most in depthwise layers, whose sums have nine
products to even out in. The mean over a few images, of each channel before its activation, is put
back by the bias (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, section 4.2; there without images, from the statistics of BatchNorm).
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kgraft.data.preprocess import preprocess
from kgraft.export.convert import spread
from kgraft.export.records import DeviceInput
from kgraft.grafting.fake_quant import int8_kernels, kernels_of
from kgraft.graph import (
    Call,
    Graph,
    as_model,
    clone_built,
    clone_graph,
    fold_batch_norm,
    run_calls,
    set_weights,
    trace_model,
)
from kgraft.zoo import float32_copy

# Bits of the kernels of each format whose kernels are rounded after training.
_BITS = {"dynamic": 8, "int8": 8, "int16x8": 8, "aeq_int8": 8, "aeq_int4": 4, "aeq_mixed": 4}
CORRECTED = tuple(_BITS)
# LiteRT has no kernels of four bits for these.
_EIGHT_BITS = (keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose)
# The converter leaves kernels of fewer weights as they are in `dynamic`.
_LEAST_DYNAMIC = 1024
# Enough for means to settle: four times as many make a MobileNet's logits no better.
_IMAGES = 64
# Images in memory at once, with all that is made of them between two layers.
_TOGETHER = 8


def corrected_students(
    model: keras.Model,
    formats: Sequence[str],
    images: np.ndarray | None,
    takes: DeviceInput | None = None,
) -> dict[str, keras.Model]:
    """Makes the students that files with rounded kernels are converted from.

    Args:
        model: functional student, `[batch, height, width, channels]` to `[batch, classes]`; it
            does not change.
        formats: any of `kgraft.config.FORMATS`.
        images: `[n, height, width, channels]`, as the files take them; None for no correction.
        takes: what the files take; None for preprocessed images.

    Returns:
        A student for each of the formats that is one of `CORRECTED`: the same kernels, BatchNorms
        folded into them, and biases by which rounding that format's kernels moves no mean.
        Empty without images.
    """
    wanted = [name for name in formats if name in CORRECTED]
    if images is None or not wanted:
        return {}
    pixels = preprocess(spread(images, _IMAGES), (takes or DeviceInput()).in_file)
    given = np.asarray(pixels, "float32")
    graph = _with_biases(fold_batch_norm(trace_model(float32_copy(model)))[0])
    # A layer's shift does not depend on what other layers are rounded to.
    shifts = functools.cache(lambda bits: _shifts(graph, bits, given))

    @functools.cache
    def corrected(bits: tuple[int | None, ...]) -> keras.Model:
        chosen = [None if count is None else shifts(count)[i] for i, count in enumerate(bits)]
        return _shifted(graph, chosen, name=model.name)

    return {name: corrected(_kernel_bits(name, graph)) for name in wanted}


def _kernel_bits(name: str, graph: Graph) -> tuple[int | None, ...]:
    """The bits of each layer's kernels in a file; None where they are not all of a kind."""
    ops = _ops(graph)
    bits: list[int | None] = [_BITS[name]] * len(ops)
    for i, op in enumerate(ops):
        sizes = [kernel.shape.num_elements() for kernel, _ in kernels_of(op)]
        if name == "dynamic" and min(sizes) < _LEAST_DYNAMIC:
            bits[i] = None
        elif _BITS[name] == 4 and isinstance(op, _EIGHT_BITS):
            bits[i] = 8
        elif _BITS[name] == 4 and len(sizes) > 1:
            # Of a separable convolution the first kernel has eight bits, the second has four.
            bits[i] = None
        elif name == "aeq_mixed" and i in (0, len(ops) - 1):
            bits[i] = 8
    return tuple(bits)


def _ops(graph: Graph) -> list[Any]:
    """The layers with kernels, each once."""
    found = {id(call.op): call.op for call in graph.calls if kernels_of(call.op)}
    return [op for op in found.values() if getattr(op, "data_format", None) != "channels_first"]


def _with_biases(graph: Graph) -> Graph:
    """The graph, its layers with kernels all with a bias too."""
    for op in [op for op in _ops(graph) if not op.use_bias]:
        calls = [call for call in graph.calls if call.op is op]
        shape = graph.shapes[calls[0].input]
        new = clone_built(op, shape, use_bias=True, bias_initializer="zeros")
        # Behind it come weights of the activation, where it has any.
        place = [weight is new.bias for weight in new.weights].index(True)
        weights = op.get_weights()
        set_weights(new, [*weights[:place], np.asarray(new.bias), *weights[place:]])
        for call in calls:
            graph = graph.with_op(call.name, new)
    return graph


def _shifted(graph: Graph, shifts: Sequence[np.ndarray | None], *, name: str) -> keras.Model:
    """A model of the graph, each shift taken off the bias of its layer."""
    own = clone_graph(graph, trainable=False)
    for op, shift in zip(_ops(own), shifts, strict=True):
        if shift is not None:
            op.bias.assign(np.asarray(op.bias) - shift)
    return as_model(own, name=name)


def _shifts(graph: Graph, bits: int, images: np.ndarray) -> list[np.ndarray]:
    """By how much rounding a layer's kernels moves the mean of each channel, layer by layer."""
    moved: dict[int, list[np.ndarray]] = {id(op): [] for op in _ops(graph)}
    for start in range(0, len(images), _TOGETHER):
        for call, values in run_calls(graph, images[start : start + _TOGETHER]):
            if id(call.op) in moved:
                moved[id(call.op)].append(_moved(call, values, bits))
    return [np.concatenate(parts).mean(axis=0) for parts in moved.values()]


def _moved(call: Call, values: Mapping[str, np.ndarray], bits: int) -> np.ndarray:
    """What rounding adds to a layer's output before its activation: means, `[images, channels]`."""
    with _linear(call.op):
        (exact,) = call.run(values, training=False)
        with int8_kernels(call.op, bits):
            (rounded,) = call.run(values, training=False)
    moved = np.asarray(rounded) - np.asarray(exact)
    return moved.mean(axis=tuple(range(1, moved.ndim - 1)), dtype="float64")


@contextlib.contextmanager
def _linear(layer: Any) -> Iterator[None]:
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation
