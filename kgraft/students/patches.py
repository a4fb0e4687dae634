"""The patches of its input that a layer sees."""

from typing import Any

import numpy as np
from keras import layers as kl


def patches_at(layer: Any, x: np.ndarray, places: tuple[np.ndarray, ...]) -> np.ndarray:
    """Gathers what a layer sees at some places of its output.

    Gathering only the drawn places costs a fraction of unfolding every patch.

    Args:
        layer: a convolution, depthwise convolution or dense layer.
        x: what reaches it, `[examples, ..., channels]`.
        places: index of the example, then of each dimension of the output but the channels; each
            `[places]`.

    Returns:
        `[places, kernel places * channels]`.
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
