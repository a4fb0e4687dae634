"""Layers that Keras 3 and Keras 2 both have, read from one and made in the other."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kgraft.errors import KgraftError

_WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate")
_WEIGHED = ("activation", "use_bias")
_POOL = ("pool_size", "strides", "padding", "data_format")
_GLOBAL_POOL = ("data_format", "keepdims")

# What a layer computes depends on these settings alone; how weights are drawn at first does not
# matter once they are copied.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "Conv1D": ("filters", *_WINDOW, "groups", *_WEIGHED),
    "Conv2D": ("filters", *_WINDOW, "groups", *_WEIGHED),
    "DepthwiseConv2D": ("depth_multiplier", *_WINDOW, *_WEIGHED),
    "SeparableConv2D": ("filters", "depth_multiplier", *_WINDOW, *_WEIGHED),
    "Conv2DTranspose": ("filters", *_WINDOW, "output_padding", *_WEIGHED),
    "Dense": ("units", *_WEIGHED),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "GroupNormalization": ("groups", "axis", "epsilon", "center", "scale"),
    "Activation": ("activation",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "PReLU": ("shared_axes",),
    "Softmax": ("axis",),
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalMaxPooling2D": _GLOBAL_POOL,
    "GlobalAveragePooling2D": _GLOBAL_POOL,
    "Flatten": ("data_format",),
    "Reshape": ("target_shape",),
    "Permute": ("dims",),
    "ZeroPadding2D": ("padding", "data_format"),
    "Cropping2D": ("cropping", "data_format"),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    "Add": (),
    "Subtract": (),
    "Multiply": (),
    "Average": (),
    "Maximum": (),
    "Minimum": (),
    "Concatenate": ("axis",),
    "Identity": (),
    "Dropout": ("rate", "noise_shape", "seed"),
    "SpatialDropout2D": ("rate", "seed"),
    "GaussianNoise": ("stddev", "seed"),
    "GaussianDropout": ("rate", "seed"),
    "Rescaling": ("scale", "offset"),
    "Normalization": ("axis", "invert", "mean", "variance"),
}
# Settings that only one of the two knows, and the value under which the other does the same.
_ONE_SIDED: Mapping[str, Mapping[str, Any]] = {
    "BatchNormalization": {"renorm": False},
    "LayerNormalization": {"rms_scaling": False},
    "DepthwiseConv2D": {"groups": 1},
    "SeparableConv2D": {"groups": 1},
    "Conv2DTranspose": {"groups": 1},
}
# Activations that mean the same under the same name; what else there is are layers of their own.
ACTIVATIONS = frozenset([
    "linear",
    "relu",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "softmax",
    "exponential",
    "mish",
])


@dataclasses.dataclass(frozen=True, eq=False)
class Spec:
    """A layer of neither library.

    Attributes:
        kind: class name in both libraries, a key of `SETTINGS`.
        settings: those that `SETTINGS` names, as plain Python values; an activation by name.
        weights: arrays in the order of `get_weights`.
        trainable: whether the layer is marked so.
    """

    kind: str
    settings: Mapping[str, Any]
    weights: tuple[np.ndarray, ...] = ()
    trainable: bool = True


def unsupported(name: str, what: str, advice: str = "") -> KgraftError:
    """Returns the error for a layer that cannot cross the bridge.

    Args:
        name: the layer.
        what: the layer's type, or what about it is in the way.
        advice: what would be right; empty for the types of layer that can cross.
    """
    known = advice or f"use layers among {', '.join(sorted(SETTINGS))}"
    return KgraftError(
        f"layer {name!r} cannot be had in Keras 2 and Keras 3 alike: {what}; {known}"
    )


def read_layer(layer: Any, library: Any) -> Spec:
    """Describes a built layer.

    Args:
        layer: of `library`; it does not change.
        library: `keras` or `tf_keras`.

    Returns:
        The description. Its activation may be one that is not in `ACTIVATIONS`.

    Raises:
        KgraftError: the other library has no such layer.
        KgraftError: the layer has a setting that the other library does not know.
        KgraftError: the layer does not hold and compute in float32.
        KgraftError: its activation is a function of the user's.
        KgraftError: it is a BatchNorm over several axes.
    """
    kind = type(layer).__name__
    if kind not in SETTINGS or type(layer) is not getattr(library.layers, kind):
        raise unsupported(layer.name, f"it is a {kind}")
    if layer.dtype_policy.name != "float32":
        raise unsupported(layer.name, f"its dtype is {layer.dtype_policy.name}", "use float32")
    config = layer.get_config()
    for setting, same in _ONE_SIDED.get(kind, {}).items():
        if config.get(setting, same) != same:
            what = f"{setting}={config[setting]!r}"
            raise unsupported(layer.name, what, f"use {setting}={same!r}")
    settings = {key: _plain(config[key]) for key in SETTINGS[kind] if key in config}
    if kind == "BatchNormalization":
        settings["axis"] = _single_axis(layer.name, settings["axis"])
    if kind == "LeakyReLU":
        settings["negative_slope"] = float(config.get("negative_slope", config.get("alpha")))
    if "activation" in settings:
        settings["activation"] = _activation_name(layer, library)
    if kind == "Rescaling":
        settings = {key: _plain(getattr(layer, key)) for key in settings}
    if kind == "Normalization":
        return Spec(kind, {**settings, **_statistics(layer)})
    weights = tuple(np.asarray(weight) for weight in layer.get_weights())
    return Spec(kind, settings, weights, bool(layer.trainable))


def make_layer(spec: Spec, name: str, library: Any) -> Any:
    """Makes a layer from its description.

    Args:
        spec: what `read_layer` returned; its activation must be in `ACTIVATIONS`.
        name: name of the layer.
        library: `keras` or `tf_keras`.

    Returns:
        The layer, not built; `give_weights` puts the weights in once it is.
    """
    settings = dict(spec.settings)
    if spec.kind == "LeakyReLU" and library.__name__ == "tf_keras":
        settings["alpha"] = settings.pop("negative_slope")
    layer = getattr(library.layers, spec.kind)(name=name, **settings)
    layer.trainable = spec.trainable
    return layer


def give_weights(spec: Spec, layer: Any) -> None:
    """Puts the weights of a description into the layer made from it, once that is built."""
    if spec.weights:
        layer.set_weights(list(spec.weights))


# What Keras 2 calls otherwise than Keras 3, or has something else under the name of.
_KERAS_2_NAMES = {"swish": "silu", "hard_sigmoid": "hard_sigmoid_of_keras_2"}


def _activation_name(layer: Any, library: Any) -> str:
    """The activation's name in Keras 3, where it is one of the library's own."""
    function = layer.activation
    name = getattr(function, "__name__", type(function).__name__)
    renamed = _KERAS_2_NAMES.get(name, name) if library.__name__ == "tf_keras" else name
    if not any(_activation(alias, library) is function for alias in (name, renamed)):
        raise unsupported(
            layer.name,
            f"its activation {name} is not one of Keras's own",
            f"use one among {', '.join(sorted(ACTIVATIONS))}",
        )
    return renamed


def _activation(name: str, library: Any) -> Any:
    try:
        return library.activations.get(name)
    except ValueError:
        return None


def _single_axis(name: str, axis: Any) -> int:
    """The one axis that Keras 3 takes; Keras 2 makes a list of it, which may be longer."""
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) != 1:
        raise unsupported(name, f"it normalises axes {axes}", "give it one axis")
    return int(axes[0])


def _statistics(layer: Any) -> dict[str, Any]:
    """Mean and variance as constants: adapted ones live in weights, and both mean the same."""
    mean = np.asarray(layer.mean)
    shape = [mean.shape[axis] for axis in sorted(axis % mean.ndim for axis in layer.axis)]
    arrays = {"mean": mean, "variance": np.asarray(layer.variance)}
    return {key: array.reshape(shape).tolist() for key, array in arrays.items()}


def _plain(value: Any) -> Any:
    """Turns numpy's and the libraries' own kinds of numbers and lists into Python's."""
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
