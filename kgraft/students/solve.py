"""Layers of a thin block corrected in closed form; nothing here is a gradient step."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kgraft.graph import Graph, batch_slices, run_calls
from kgraft.students.channels import is_conv, is_depthwise
from kgraft.students.ridge import NormalEquations, ridge

# Rows per unknown beyond which more places of the same images no longer change the fit.
_ROWS_PER_FEATURE = 16
_MIN_ROWS = 20_000
# Part of the entropy of random places, so that they share no stream with draw and views.
_PLACES = 11


@dataclasses.dataclass(frozen=True)
class LayerFit:
    """How the layers of a thin block are fitted.

    Attributes:
        kept: from a value's name to the channels of it that stay.
        strength: relative strength of the pull towards the copied weights.
        seed: seed for the choice of places.
    """

    kept: Callable[[str], np.ndarray]
    strength: float
    seed: int


def correct_layers(
    teacher: Graph, student: Graph, *, entry: np.ndarray, student_entry: np.ndarray, fit: LayerFit
) -> np.ndarray:
    """Fits each convolution and dense layer of a thin block to the teacher's, in order.

    Each layer's weights are moved, by ridge regression towards the copied ones, so that from the
    student's own inputs it makes the teacher's pre-activations at the channels that stay (the idea
    of FSKD's least squares, applied to every layer).

    Args:
        teacher: the full block with layers of its own, BatchNorm folded.
        student: the thin block of the same calls; its weights are set.
        entry: the teacher's activations at the entry, `[examples, ..., channels]`.
        student_entry: what comes into the student block, same examples.
        fit: how.

    Returns:
        The student block's output, `[examples, ...]`.
    """
    rng = np.random.default_rng([fit.seed, _PLACES])
    walk = zip(run_calls(teacher, entry), run_calls(student, student_entry), strict=True)
    values: dict[str, np.ndarray] = {}
    fitted: set[int] = set()
    for (full, full_values), (thin, live) in walk:
        values = live
        if id(thin.op) in fitted or not (is_conv(thin.op) or is_depthwise(thin.op)):
            continue
        fitted.add(id(thin.op))
        x, full_x = values[thin.input], full_values[full.input]
        draw = _Draw(_share(thin.op, x), fit.kept(thin.output), rng)
        _fit_layer(thin.op, _rows(thin.op, x, full.op, full_x, draw=draw), fit.strength)
    return values[student.output]


def _fit_layer(layer: Any, rows: Iterator[tuple[np.ndarray, np.ndarray]], strength: float) -> None:
    kernel = layer.get_weights()[0]
    if is_depthwise(layer):
        new, bias = _fit_depthwise(rows, kernel, strength, bias=layer.use_bias)
    else:
        towards = kernel.reshape(-1, kernel.shape[-1]).astype("float64")
        equations = NormalEquations.empty(*towards.shape)
        for x, y in rows:
            equations.add(x, y)
        new, bias = ridge(equations, towards, strength=strength, bias=layer.use_bias)
    layer.set_weights([new.reshape(kernel.shape), *([bias] if layer.use_bias else [])])


def _rows(
    layer: Any, x: np.ndarray, full_layer: Any, full_x: np.ndarray, *, draw: "_Draw"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What drawn places of a layer see, and what the full layer makes there, batch by batch."""
    for batch in batch_slices(x, full_x):
        wanted = _linear(full_layer, full_x[batch])
        places = draw.places(wanted.shape[:-1])
        yield _seen(layer, x[batch], places), wanted[places][:, draw.channels]


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Which places and channels of a layer's output the fit looks at."""

    share: float
    channels: np.ndarray
    rng: np.random.Generator

    def places(self, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Draws places of a batch, as indexes into `[batch, ...]`."""
        return np.nonzero(self.rng.random(shape) < self.share)


def _share(layer: Any, x: np.ndarray) -> float:
    """Which share of the places is enough."""
    features = int(np.prod(layer.kernel.shape[:-2]))
    if not is_depthwise(layer):
        features *= layer.kernel.shape[-2]
    places = math.prod(x.shape[:-1]) / math.prod(getattr(layer, "strides", (1,)))
    return min(1.0, max(_MIN_ROWS, _ROWS_PER_FEATURE * features) / places)


def _linear(layer: Any, x: np.ndarray) -> np.ndarray:
    """The layer's output before its activation."""
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return np.asarray(layer(x))
    finally:
        layer.activation = activation


def _seen(layer: Any, x: np.ndarray, places: tuple[np.ndarray, ...]) -> np.ndarray:
    """What a layer sees at some places of its output, `[places, kernel places * channels]`.

    Gathering only the drawn places costs a fraction of unfolding every patch.
    """
    if isinstance(layer, kl.Dense):
        return x[places]
    example, *place = places
    padded = np.pad(x, [(0, 0), *_padding(layer, x.shape[1:-1]), (0, 0)])
    starts = [at * stride for at, stride in zip(place, layer.strides, strict=True)]
    height, width = layer.kernel_size
    down, across = layer.dilation_rate
    window = [
        padded[example, starts[0] + row * down, starts[1] + column * across]
        for row in range(height)
        for column in range(width)
    ]
    return np.stack(window, axis=1).reshape(len(example), -1)


def _padding(layer: Any, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Zeros TensorFlow puts around an image for a layer, as (before, after) of each side."""
    if layer.padding == "valid":
        return [(0, 0)] * len(sizes)
    sides = []
    for size, kernel, stride, rate in zip(
        sizes, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        reach = (-(-size // stride) - 1) * stride + (kernel - 1) * rate + 1
        total = max(reach - size, 0)
        sides.append((total // 2, total - total // 2))
    return sides


def _fit_depthwise(
    rows: Iterator[tuple[np.ndarray, np.ndarray]],
    kernel: np.ndarray,
    strength: float,
    *,
    bias: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """One small problem per channel: its own kernel places, its own target."""
    places, channels = int(np.prod(kernel.shape[:2])), kernel.shape[2]
    problems = [NormalEquations.empty(places, 1) for _ in range(channels)]
    for x, y in rows:
        patches = x.reshape(len(x), places, channels)
        for channel, problem in enumerate(problems):
            problem.add(patches[:, :, channel], y[:, channel : channel + 1])
    towards = kernel.reshape(places, channels)
    solved = [
        ridge(problem, towards[:, c : c + 1], strength=strength, bias=bias)
        for c, problem in enumerate(problems)
    ]
    return (
        np.concatenate([weights for weights, _ in solved], axis=1),
        np.concatenate([offset for _, offset in solved]),
    )
