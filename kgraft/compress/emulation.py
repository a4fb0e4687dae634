"""How int8 is emulated in a Keras 2 model: what is rounded where, as LiteRT's kernels do it."""

import functools
from collections.abc import Set
from typing import Any

from kgraft.compress.affine import scale_and_offset
from kgraft.compress.depthwise import depthwise_classes
from kgraft.compress.legacy import load_tf_keras, load_tfmot
from kgraft.errors import KgraftError

# What tensorflow-model-optimization emulates by itself.
_KNOWN = (
    "Activation",
    "Add",
    "AveragePooling2D",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "InputLayer",
    "LeakyReLU",
    "MaxPooling2D",
    "Permute",
    "ReLU",
    "Reshape",
    "Softmax",
    "SpatialDropout2D",
    "UpSampling2D",
    "ZeroPadding2D",
)
# It can round these, but not with zeros or clusters kept.
_NOTHING_KEPT = ("Conv2DTranspose",)
# Without weights: it is enough to emulate what they put out.
_OUTPUT_ONLY = ("Average", "Maximum", "Minimum", "Multiply", "Subtract")
_SCALES = {
    "BatchNormalization": " that scales other than channels of images",
    "Normalization": " that scales other than channels of images",
    "Rescaling": " or what comes to one, such as an Average or a hard sigmoid, that scales other "
    "than channels of images",
}
_ACTIVATIONS = ("linear", "relu", "silu", "swish", "gelu", "softmax", "sigmoid", "tanh")
# What a ReLU behind it becomes one op with.
_FUSING = ("Add", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D")


def check_quantizable(plain: Any, done: tuple[str, ...] = ()) -> None:
    """Checks that int8 can be emulated in every layer.

    Args:
        plain: a Keras 2 model.
        done: techniques that go before.

    Raises:
        KgraftError: in one it cannot, or not with what went before kept; the message names it.
    """
    for layer in plain.layers:
        kind = type(layer).__name__
        if kind not in (*_KNOWN, *_OUTPUT_ONLY) and scale_and_offset(layer) is None:
            raise _refused(layer.name, f"a {kind}{_SCALES.get(kind, '')}")
        if kind == "ReLU" and (layer.threshold or (layer.negative_slope and layer.max_value)):
            raise _refused(layer.name, "a ReLU with a threshold, or with a slope and a maximum")
        function = getattr(layer, "activation", None)
        name = getattr(function, "__name__", "linear")
        if function is not None and name not in _ACTIVATIONS:
            raise _refused(layer.name, f"a {kind} with the activation {name}")
        if done and kind in _NOTHING_KEPT:
            raise KgraftError(
                f"--compress={'+'.join((*done, 'quantize'))} cannot emulate int8 behind "
                f"{' and '.join(done)} in layer {layer.name!r}, a {kind}: take --compress=quantize "
                "alone, or leave quantize out and take --formats=int8, which is quantised after "
                "training"
            )


def _refused(name: str, what: str) -> KgraftError:
    return KgraftError(
        f"--compress=quantize cannot emulate int8 in layer {name!r}, {what}: leave quantize out "
        "and take --formats=int8, which is quantised after training"
    )


def emulate_int8(body: Any, done: tuple[str, ...]) -> Any:
    """Wraps every layer of a model so that it rounds weights and activations as int8 does.

    A layer that becomes one op with the ReLU behind it rounds its weights alone, and the ReLU what
    comes out; `quantize_model` would then leave its weights in float32.

    Args:
        body: a Keras 2 model without layers that scale and shift channels, used up.
        done: techniques that went before; the zeros and clusters they made stay.

    Returns:
        The wrapped model.
    """
    quantization = load_tfmot().quantization.keras
    internal = _internal()
    fused = [layer for layer in body.layers if _fuses(layer)]
    for layer in fused:
        if hasattr(layer, "activation"):
            layer.activation = internal["no_activation"]()

    def annotate(layer: Any) -> Any:
        config = None
        if type(layer).__name__ in _OUTPUT_ONLY:
            config = internal["output"]()
        if type(layer).__name__ == "DepthwiseConv2D":
            config = internal["depthwise"]()
        if layer in fused and not hasattr(layer, "activation"):
            config = internal["nothing"]()
        return quantization.quantize_annotate_layer(layer, config)

    names = {internal[key].__name__: internal[key] for key in ("output", "nothing", "depthwise")}
    with quantization.quantize_scope(names):
        annotated = load_tf_keras().models.clone_model(body, clone_function=annotate)
        return quantization.quantize_apply(annotated, _Scheme(done))


def _fuses(layer: Any) -> bool:
    """Whether a layer and the only one that reads it become one op."""
    readers = [node.outbound_layer for node in layer._outbound_nodes]
    if type(layer).__name__ not in _FUSING or len(readers) != 1:
        return False
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    reader, kind = readers[0], type(readers[0]).__name__
    if kind == "Activation":
        return name == "linear" and reader.activation.__name__ == "relu"
    plain = kind == "ReLU" and not reader.negative_slope and not reader.threshold
    return name == "linear" and plain and reader.max_value in (None, 6.0)


class _Scheme:
    """What tensorflow-model-optimization asks how to round, less its rewriting of ReLUs."""

    def __init__(self, done: tuple[str, ...]) -> None:
        self._registry = _Registry(done)

    def get_layout_transformer(self) -> Any:
        """Returns what marks the layers to round."""
        return _Layout(self._registry)

    def get_quantize_registry(self) -> Any:
        """Returns what each kind of layer is rounded by."""
        return self._registry


class _Layout:
    """Rounds the input, and what goes into a concatenation in one range.

    tensorflow-model-optimization's own way with a concatenation may change the order of what goes
    in, and asks nobody what must stay of the kernels before it.
    """

    def __init__(self, registry: "_Registry") -> None:
        self._registry = registry

    def apply(self, model: Any, layers: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Returns the model with its layers marked, and what is known of each."""
        made = _internal()
        known = set(layers)
        transformer = made["transformer"](model, [made["input"]()], set(layers), layers)
        model, found = transformer.transform()
        for layer in model.layers:
            for source in _joined(layer, known):
                config = found[source.name].get("quantize_config")
                config = config or self._registry.get_quantize_config(source)
                # It is rounded once, joined to the others.
                config.get_output_quantizers = lambda layer: []
                found[source.name]["quantize_config"] = config
        return model, found


def _joined(layer: Any, known: Set[str]) -> list[Any]:
    """The layers that a concatenation joins, where nothing else reads any of them."""
    if type(layer).__name__ != "Concatenate" or len(layer._inbound_nodes) != 1:
        return []
    sources = [node.layer for node in layer._inbound_nodes[0].parent_nodes]
    alone = all(
        source.name in known and len(source._inbound_nodes) == len(source._outbound_nodes) == 1
        for source in sources
    )
    return sources if alone else []


class _Registry:
    """Rounds each layer by quantisers of its own.

    tensorflow-model-optimization's registry has one for all convolutions, which forgets about zeros
    at the first kernel that has none.
    """

    def __init__(self, done: tuple[str, ...]) -> None:
        self._fresh = functools.partial(_base_registry, done)

    def supports(self, layer: Any) -> bool:
        """Whether it is known how a layer is rounded."""
        return self._fresh().supports(layer)

    def get_quantize_config(self, layer: Any) -> Any:
        """Returns how a layer is rounded."""
        return self._fresh().get_quantize_config(layer)


def _internal() -> dict[str, Any]:
    """What tensorflow-model-optimization has no public name for."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras import (
        quantize_aware_activation,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs as configs,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_transforms as transforms,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
        model_transformer,
    )

    return {
        "depthwise": depthwise_classes()["config"],
        "input": transforms.InputLayerQuantize,
        "no_activation": quantize_aware_activation.NoOpActivation,
        "nothing": configs.NoOpQuantizeConfig,
        "output": configs.Default8BitOutputQuantizeConfig,
        "transformer": model_transformer.ModelTransformer,
    }


def _base_registry(done: tuple[str, ...]) -> Any:
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import (
        cluster_preserve,
        prune_preserve,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    if "cluster" in done:
        clusters = cluster_preserve.cluster_preserve_quantize_registry
        return clusters.Default8bitClusterPreserveQuantizeRegistry("prune" in done)
    if "prune" in done:
        zeros = prune_preserve.prune_preserve_quantize_registry
        return zeros.Default8bitPrunePreserveQuantizeRegistry()
    return registry.Default8BitQuantizeRegistry()
