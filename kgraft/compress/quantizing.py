"""Quantisation-aware training: int8 weights and activations emulated while the student learns."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgraft.compress.affine import with_convolutions
from kgraft.compress.emulation import check_quantizable, emulate_int8
from kgraft.compress.training import Wrapped
from kgraft.compress_config import CompressConfig
from kgraft.data.preprocess import preprocess
from kgraft.grafting.bank import ViewBank

# Views whose activations the ranges begin with, and how many at once.
_RANGE_VIEWS = 256
_RANGE_BATCH = 64
# Of a channel's weights, as a share of the largest weight of the layer.
_LEAST_RANGE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedStudent:
    """A student that was trained with int8 emulated.

    Attributes:
        model: the Keras 2 model, whose emulation the converter turns into ops.
        floats: its weights without emulation, what the file's are rounded from.
    """

    model: Any
    floats: keras.Model


def wrap_quantizing(plain: Any, config: CompressConfig, done: tuple[str, ...]) -> Wrapped:
    """Wraps a model for quantisation-aware training.

    Args:
        plain: a Keras 2 model.
        config: not read.
        done: techniques that went before; what they made of the kernels stays.

    Returns:
        The wrapped model; `strip` returns the plain model with its weights.

    Raises:
        KgraftError: a layer cannot be emulated, or not with what went before kept; the message
            names it.
    """
    check_quantizable(plain, done)
    body, affine = with_convolutions(plain)
    floats, _ = with_convolutions(plain)
    model = emulate_int8(body, done)
    emulated = [layer for layer in model.layers if getattr(layer, "_weight_vars", None)]

    def begin(bank: ViewBank, _: int) -> None:
        begin_ranges(model, bank)
        # The weights that training begins with may be those that are kept.
        _follow(emulated)

    return Wrapped(
        model,
        layers=tuple(layer.layer.name for layer in emulated if layer.layer.name not in affine),
        left=(),
        strip=lambda: _with_weights_of(model, floats),
        begin=begin,
        after_update=lambda: _follow(emulated),
        frozen=affine,
    )


def _with_weights_of(model: Any, floats: Any) -> Any:
    """The plain model with the weights that emulation rounds."""
    for wrapper in model.layers:
        variables = getattr(wrapper, "_weight_vars", None)
        if variables:
            bias = [] if wrapper.layer.bias is None else [wrapper.layer.bias.numpy()]
            kernel = variables[0][0].numpy()
            floats.get_layer(wrapper.layer.name).set_weights([kernel, *bias])
    return floats


def _follow(wrappers: list[Any]) -> None:
    """Lets ranges of weights, zeros, and what clusters make of them, follow an update.

    They are set when weights are used, so that the last update would be clipped by older ranges.
    Zeros have no gradient, but Muon moves what has none too. A channel that pruning has emptied
    gets a range all the same: biases are stored in steps of it, and would not fit into 32 bits.
    """
    for wrapper in wrappers:
        for weight, quantizer, ranges in wrapper._weight_vars:
            if "sparsity_mask" in ranges:
                weight.assign(weight * ranges["sparsity_mask"])
            quantizer(weight, True, weights=ranges)
            low, high = ranges["min_var"], ranges["max_var"]
            least = _LEAST_RANGE * tf.reduce_max(tf.abs(weight))
            low.assign(tf.minimum(low, -least))
            high.assign(tf.maximum(high, least))


class _Recorder:
    """Takes the place of a quantiser: widens its range by what passes, which it leaves alone."""

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Any, **_: Any) -> tf.Tensor:
        low, high = weights["min_var"], weights["max_var"]
        low.assign(tf.minimum(low, tf.reduce_min(inputs)))
        high.assign(tf.maximum(high, tf.reduce_max(inputs)))
        return inputs


def begin_ranges(model: Any, bank: ViewBank) -> None:
    """Gives all activations the ranges they have on some views.

    They would begin at -6 to 6 otherwise and move there by a thousandth of the way an update.

    Args:
        model: the wrapped model, changed in place.
        bank: the training views.
    """
    rows = np.linspace(0, len(bank) - 1, min(_RANGE_VIEWS, len(bank))).astype(int)
    batches = [rows[i : i + _RANGE_BATCH] for i in range(0, len(rows), _RANGE_BATCH)]
    places = [place for layer in model.layers for place in _quantizers(layer)]
    found = [(holder, name, getattr(holder, name)) for holder, name, _ in places]
    for holder, name, ranges in places:
        recorder = _Recorder()
        setattr(holder, name, [recorder] if isinstance(getattr(holder, name), list) else recorder)
        for variable in ranges:
            variable.assign(tf.zeros_like(variable))
    try:
        for part in batches:
            model(preprocess(tf.constant(bank.views[part]), bank.preprocess), training=True)
    finally:
        for holder, name, quantizer in found:
            setattr(holder, name, quantizer)


def _quantizers(layer: Any) -> list[tuple[Any, str, list[Any]]]:
    """Where a layer's quantisers of activations are kept, and their ranges."""
    places = []
    if getattr(layer, "quantizer", None) is not None:
        places.append((layer, "quantizer", layer.quantizer_vars))
    if getattr(layer, "_output_quantizers", None):
        places.append((layer, "_output_quantizers", layer._output_quantizer_vars))
    for activation in getattr(layer, "_quantize_activations", None) or []:
        for name in ("_pre_activation_vars", "_post_activation_vars"):
            if hasattr(activation, name):
                places.append((activation, "quantizer", getattr(activation, name)))
    return [(holder, name, [r["min_var"], r["max_var"]]) for holder, name, r in places]
