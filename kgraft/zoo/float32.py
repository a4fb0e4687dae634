"""A model made anew to compute in float32."""

from typing import Any

import keras

from kgraft.errors import KgraftError

_HALF = ("float16", "bfloat16")
# Keras gives `keras.Model(inputs, outputs)` this class, but no public name for it.
_TENSOR = keras.Input((1,))
FUNCTIONAL = type(keras.Model(_TENSOR, _TENSOR))


def half_precision(model: keras.Model) -> str:
    """Finds what computes in half precision.

    Args:
        model: functional; layers inside of layers and nested models count too.

    Returns:
        The name of the first such layer or operation; empty where there is none.
    """
    layers = model._flatten_layers()
    models = [layer for layer in layers if isinstance(layer, FUNCTIONAL)]
    # A cast is an operation and no layer.
    casts = [op for part in models for op in part.operations if hasattr(op, "dtype")]
    for op in (*layers, *casts):
        if getattr(op, "compute_dtype", op.dtype) in _HALF:
            return op.name
    return ""


def float32_copy(model: keras.Model) -> keras.Model:
    """Copies a model as one of float32, with layers and weights of its own.

    Args:
        model: functional, with one input and one output; it does not change.

    Returns:
        A model whose input and output are no lists or dicts, and which is not compiled.

    Raises:
        KgraftError: a layer of a user's own computes in half precision all the same.
        Exception: whatever a layer raises that its configuration does not make again.
    """
    plain = one_to_one(model)
    image = plain.inputs[0]
    kind = "float32" if image.dtype in _HALF else image.dtype
    copy = keras.models.clone_model(
        plain,
        input_tensors=keras.Input(batch_shape=image.shape, dtype=kind, name=image.name),
        clone_function=_clone,
        recursive=True,
    )
    for whole in (plain, copy):
        _build_inside(whole)
    copy.set_weights(plain.get_weights())
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            # It computes with numbers of its own, made from the weights when it was built.
            layer.finalize_state()
    left = half_precision(copy)
    if left:
        raise KgraftError(f"layer {left} computes in half precision whatever its dtype is set to")
    return copy


def one_to_one(model: keras.Model) -> keras.Model:
    """Takes the lists or dicts away that a model may have around its one input and output.

    Args:
        model: functional, with one input and one output.

    Returns:
        A model of the same layers.
    """
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _build_inside(model: keras.Model) -> None:
    # An activation with weights of its own is else built on the first numbers that come.
    if not all(layer.built for layer in model._flatten_layers()):
        keras.Operation.compute_output_spec(model, model.input)


def _clone(op: keras.Operation) -> keras.Operation:
    config = _widened(op.get_config())
    if isinstance(op, keras.layers.Layer) and "dtype" in config:
        config["dtype"] = "float32"
    return type(op).from_config(config)


def _widened(config: Any) -> Any:
    """A configuration, float32 in the place of half precision in it.

    A layer's own has in it those of the layers inside: its activation, what it wraps.
    """
    if isinstance(config, dict):
        return {
            entry: "float32" if entry == "dtype" and _is_half(value) else _widened(value)
            for entry, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(map(_widened, config))
    return config


def _is_half(dtype: Any) -> bool:
    if not isinstance(dtype, str | dict | keras.DTypePolicy):
        return False
    return keras.dtype_policies.get(dtype).compute_dtype in _HALF
