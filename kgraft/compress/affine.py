"""Layers that scale and shift channels, as depthwise convolutions of one pixel.

Quantisation-aware training knows convolutions and no such layer; a file then has one integer op.
"""

from typing import Any

import numpy as np

from kgraft.compress.legacy import load_tf_keras


def with_convolutions(plain: Any) -> tuple[Any, tuple[str, ...]]:
    """Turns `Rescaling`, `Normalization` and `BatchNormalization` of images into convolutions.

    Args:
        plain: a Keras 2 model; it does not change.

    Returns:
        A model of the same function at inference with weights of its own, and the names of the
        layers that were turned. One over other axes than the channels stays as it is.
    """
    library = load_tf_keras()
    maps = {layer.name: found for layer in plain.layers if (found := scale_and_offset(layer))}

    def copy(layer: Any) -> Any:
        if layer.name in maps:
            return library.layers.DepthwiseConv2D(1, name=layer.name)
        return type(layer).from_config(layer.get_config())

    made = library.models.clone_model(plain, clone_function=copy)
    for layer in made.layers:
        if layer.name in maps:
            scale, offset = maps[layer.name]
            layer.set_weights([scale.reshape(layer.depthwise_kernel.shape), offset])
        elif layer.weights:
            layer.set_weights(plain.get_layer(layer.name).get_weights())
    return made, tuple(maps)


def scale_and_offset(layer: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns what a layer multiplies each channel of an image by, and what it adds.

    Args:
        layer: a built layer of Keras 2.

    Returns:
        Two arrays of `[channels]`; None where it is no such layer, or does not scale channels.
    """
    kind = type(layer).__name__
    if kind not in _READERS or len(layer.input_shape) != 4:
        return None
    if kind == "BatchNormalization" and list(layer.axis) not in ([3], [-1]):
        return None
    channels = layer.input_shape[-1]
    pair = _READERS[kind](layer)
    try:
        scale, offset = (np.broadcast_to(array, [1, 1, 1, channels]).ravel() for array in pair)
    except ValueError:
        return None
    return scale.astype("float32"), offset.astype("float32")


def _rescaling(layer: Any) -> tuple[Any, Any]:
    return layer.scale, layer.offset


def _normalization(layer: Any) -> tuple[Any, Any]:
    mean, deviation = np.asarray(layer.mean, "float64"), np.sqrt(np.asarray(layer.variance))
    if layer.invert:
        return deviation, mean
    return 1 / deviation, -mean / deviation


def _batch_norm(layer: Any) -> tuple[Any, Any]:
    mean, variance = (np.asarray(v, "float64") for v in (layer.moving_mean, layer.moving_variance))
    scale = 1 / np.sqrt(variance + layer.epsilon)
    scale = scale if layer.gamma is None else scale * np.asarray(layer.gamma)
    offset = -mean * scale
    return scale, offset if layer.beta is None else offset + np.asarray(layer.beta)


_READERS = {
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "BatchNormalization": _batch_norm,
}
