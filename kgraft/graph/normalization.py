"""BatchNorm folded into the convolution or dense layer before it."""

from collections.abc import Collection
from typing import Any

import numpy as np
from keras import layers as kl

from kgraft.graph.build import clone_built, unconstrained
from kgraft.graph.ir import Call, Graph

# Layers that do something in training only.
_TRAINING_ONLY = (
    kl.Dropout,
    kl.SpatialDropout2D,
    kl.GaussianNoise,
    kl.GaussianDropout,
    kl.AlphaDropout,
    kl.ActivityRegularization,
    kl.Identity,
    kl.RandomFlip,
    kl.RandomRotation,
    kl.RandomZoom,
    kl.RandomTranslation,
    kl.RandomShear,
    kl.RandomPerspective,
    kl.RandomElasticTransform,
    kl.RandomErasing,
    kl.RandomGaussianBlur,
    kl.RandomContrast,
    kl.RandomBrightness,
    kl.RandomHue,
    kl.RandomSaturation,
    kl.RandomSharpness,
    kl.RandomColorJitter,
    kl.RandomColorDegeneration,
    kl.RandomGrayscale,
    kl.RandomInvert,
    kl.RandomPosterization,
    kl.RandAugment,
    kl.AugMix,
)
_SHORT_MOMENTUM = 0.9
_FOLDABLE = (kl.Conv1D, kl.Conv2D, kl.Dense, kl.DepthwiseConv2D, kl.Conv2DTranspose)


def fold_scale_shift(
    kernel: np.ndarray, bias: np.ndarray | None, scale: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Folds `y = scale * (x @ kernel + bias) + shift` into one kernel and bias.

    Args:
        kernel: `[..., channels]`, last axis the output channels.
        bias: `[channels]` or None.
        scale: `[channels]`.
        shift: `[channels]`.

    Returns:
        The kernel, `[..., channels]`, and the bias, `[channels]`.
    """
    before = np.zeros_like(shift) if bias is None else bias
    return kernel * scale, before * scale + shift


def batch_norm_scale_shift(layer: kl.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a BatchNorm does at inference as a scale and a shift, each `[channels]`."""
    mean = np.asarray(layer.moving_mean, "float64")
    variance = np.asarray(layer.moving_variance, "float64")
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, "float64")
    shift = -mean * scale
    if layer.center:
        shift = shift + np.asarray(layer.beta, "float64")
    return scale, shift


def without_training_layers(graph: Graph) -> Graph:
    """Returns the graph without dropout, noise and other layers that do nothing at inference."""
    for call in graph.calls:
        if isinstance(call.op, _TRAINING_ONLY) and len(call.inputs) == 1:
            graph = graph.without(call.name)
    return graph


def synchronize_statistics(graph: Graph) -> None:
    """Makes every BatchNorm take its batch statistics over all replicas.

    Args:
        graph: a graph that owns its layers; they are changed.
    """
    for layer in graph.layers:
        if isinstance(layer, kl.BatchNormalization):
            layer.synchronized = True


def remember_few_batches(graph: Graph) -> None:
    """Gives every BatchNorm that learns its statistics anew the momentum of a short training.

    Keras's own, 0.99, still remembers the starting statistics after some hundred updates, and that
    of networks made for long trainings, 0.999, after some thousand.

    Args:
        graph: a graph that owns its layers; they are changed.
    """
    for layer in graph.layers:
        if isinstance(layer, kl.BatchNormalization):
            layer.momentum = min(layer.momentum, _SHORT_MOMENTUM)


def fold_batch_norm(
    graph: Graph, *, spare: Collection[str] = ()
) -> tuple[Graph, tuple[tuple[str, str], ...]]:
    """Folds every BatchNorm that directly follows a convolution or dense layer.

    Args:
        graph: the graph; its layers do not change. The result shares those that take none in.
        spare: names of calls that shall take none in.

    Returns:
        The folded graph, and for each BatchNorm that stayed its name and why.
    """
    pairs, stayed = _foldable_pairs(graph, spare)
    for norm, conv in pairs:
        shape = graph.shapes[conv.input]
        free = unconstrained(conv.op)
        new = clone_built(conv.op, shape, use_bias=True, bias_initializer="zeros", **free)
        _set_folded(conv.op, new, batch_norm_scale_shift(norm.op))
        graph = graph.with_op(conv.name, new).without(norm.name)
    return graph, stayed


def _foldable_pairs(
    graph: Graph, spare: Collection[str]
) -> tuple[list[tuple[Call, Call]], tuple[tuple[str, str], ...]]:
    uses: dict[int, int] = {}
    for call in graph.calls:
        uses[id(call.op)] = uses.get(id(call.op), 0) + 1
    pairs, stayed = [], []
    for call in graph.calls:
        if isinstance(call.op, kl.BatchNormalization):
            before = graph.producer(call.input)
            why = _why_not(graph, call, before, uses)
            if before is not None and before.name in spare:
                why = why or f"{before.name} shall take none in"
            if why or before is None:
                stayed.append((call.name, why))
            else:
                pairs.append((call, before))
    return pairs, tuple(stayed)


def _why_not(graph: Graph, norm: Call, before: Call | None, uses: dict[int, int]) -> str:
    if before is None or not isinstance(before.op, _FOLDABLE):
        return f"it follows {before.name if before else 'the input'}, which is no convolution"
    if type(before.op) not in _FOLDABLE:
        kind = type(before.op).__name__
        return f"{before.name} is a {kind}, which may do anything with its kernel"
    if uses[id(before.op)] > 1 or uses[id(norm.op)] > 1:
        return "its layer is shared"
    if getattr(before.op, "lora_enabled", False):
        return f"{before.name} has LoRA weights"
    if len(graph.consumers(before.output)) > 1 or graph.output == before.output:
        return f"{before.name} is needed without it too"
    if getattr(before.op.activation, "__name__", "") != "linear":
        return f"{before.name} has an activation in between"
    axis = norm.op.axis if isinstance(norm.op.axis, int) else norm.op.axis[0]
    if axis not in (-1, len(graph.shapes[before.output]) - 1):
        return "it does not normalise the last axis"
    return ""


def _set_folded(old: Any, new: Any, scale_shift: tuple[np.ndarray, np.ndarray]) -> None:
    kernel = np.asarray(old.kernel, "float64")
    bias = np.asarray(old.bias, "float64") if old.use_bias else None
    scale, shift = scale_shift
    shape = kernel.shape
    if isinstance(old, kl.DepthwiseConv2D):
        # [height, width, channels, multiplier]: output channels are the last two axes together.
        kernel = kernel.reshape(*shape[:2], -1)
    if isinstance(old, kl.Conv2DTranspose):
        kernel = np.swapaxes(kernel, -1, -2)
    kernel, bias = fold_scale_shift(kernel, bias, scale, shift)
    if isinstance(old, kl.Conv2DTranspose):
        kernel = np.swapaxes(kernel, -1, -2)
    new.set_weights([kernel.reshape(shape), bias])
