"""Models carried from Keras 3 to Keras 2, which tensorflow-model-optimization needs, and back."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from kgraft.compress.layers import Spec, give_weights, make_layer, read_layer, unsupported
from kgraft.compress.legacy import load_tf_keras
from kgraft.compress.operators import add_operator
from kgraft.compress.plain import Wiring, add_layer
from kgraft.errors import KgraftError
from kgraft.graph import Graph, Ref, trace_model

Shape = tuple[int | None, ...]


def to_tf_keras(model: keras.Model) -> Any:
    """Builds the Keras 2 model that computes what a Keras 3 model does.

    Nested models become flat; operators, and activations that Keras 2 does not have, become layers.
    Layers that share weights stay shared, one without weights becomes one for each use, and what is
    not trainable stays so.

    Args:
        model: a float32 functional model of one input and one output; it does not change.

    Returns:
        A functional `tf_keras.Model` with weights of its own. Its layers have the names of the
        model's, `/` and `#` turned to `_`; its input is called `image`.

    Raises:
        KgraftError: a layer has no twin in Keras 2; the message names it.
        KgraftError: the model is not functional, or has several inputs or outputs.
    """
    graph = trace_model(model)
    wiring = _read_graph(graph)
    output = wiring.values[graph.output]
    return _build(wiring, output, graph.input_shape, model.name, load_tf_keras())


def layer_names(graph: Graph) -> dict[str, str]:
    """Names the layers of `to_tf_keras`'s model that make the values of a Keras 3 one.

    Args:
        graph: the traced model.

    Returns:
        Layer by value; what a further use of a layer with weights makes has the name of no layer.

    Raises:
        KgraftError: a layer has no twin in Keras 2; the message names it.
    """
    return _read_graph(graph).values


def to_keras(model: Any) -> keras.Model:
    """Builds the Keras 3 model that computes what a Keras 2 model does.

    Args:
        model: a flat float32 functional `tf_keras.Model` of one input and one output, such as
            `to_tf_keras` builds, its wrappers stripped; it does not change.

    Returns:
        A functional Keras 3 model with weights of its own and layers of the same names.

    Raises:
        KgraftError: a layer has no twin in Keras 3, is a wrapper or a nested model; the message
            names it.
        KgraftError: the model is not functional, or has several inputs or outputs.
    """
    _check_legacy(model)
    wiring = _read_legacy(model)
    output = wiring.values[str(id(model.outputs[0]))]
    return _build(wiring, output, tuple(model.inputs[0].shape), model.name, keras)


def _read_graph(graph: Graph) -> Wiring:
    wiring = Wiring(values={graph.input: "image"})
    specs = _Once(keras)
    for call in graph.calls:
        if isinstance(call.op, keras.layers.Layer):
            spec, training = specs(call.op), _training(call.name, call.args, call.kwargs)
            inputs = [wiring.values[value] for value in call.inputs]
            value = add_layer(wiring, call.name, spec, inputs, training=training)
        else:
            value = add_operator(wiring, call, graph)
        wiring.values[call.output] = value
    return wiring


def _read_legacy(model: Any) -> Wiring:
    wiring = Wiring(values={str(id(model.inputs[0])): "image"})

    def ref(leaf: Any) -> Any:
        return Ref(str(id(leaf))) if str(id(leaf)) in wiring.values else leaf

    specs = _Once(load_tf_keras())
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = tree.map_structure(ref, (node.call_args, node.call_kwargs))
            spec = specs(node.layer)
            training = _training(node.layer.name, args, kwargs)
            refs = [leaf for leaf in tree.flatten((args, kwargs)) if isinstance(leaf, Ref)]
            inputs = [wiring.values[ref.value] for ref in refs]
            value = add_layer(wiring, node.layer.name, spec, inputs, training=training)
            wiring.values[str(id(node.outputs))] = value
    return wiring


class _Once:
    """Reads every layer once, so that a layer that shares its weights has one description.

    One without weights has a description for each use. It computes the same, and as one layer, such
    as a ReLU behind every convolution, it would have one int8 range for all places, and be none
    that a feature is known by.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._read: dict[int, Spec] = {}

    def __call__(self, layer: Any) -> Spec:
        if id(layer) not in self._read:
            self._read[id(layer)] = read_layer(layer, self._library)
        spec = self._read[id(layer)]
        return spec if spec.weights else dataclasses.replace(spec)


def _training(name: str, args: tuple[Any, ...], kwargs: Any) -> bool | None:
    """The `training` that the author fixed.

    Raises:
        KgraftError: the layer was called with something besides tensors and that.
    """
    given = {key: value for key, value in kwargs.items() if value is not None}
    training = given.pop("training", None)
    others = [leaf for leaf in tree.flatten((args, given)) if not isinstance(leaf, Ref)]
    if others:
        what = f"it is called with a value of type {type(others[0]).__name__}"
        raise unsupported(name, what, "give tensors alone")
    return training


def _build(wiring: Wiring, output: str, shape: Shape, name: str, library: Any) -> Any:
    """Makes the layers of a wiring, calls them and puts their weights in."""
    image = library.Input(shape[1:], name="image")
    values = {"image": image}
    layers: dict[int, Any] = {}
    for call in wiring.calls:
        if id(call.op) not in layers:
            layers[id(call.op)] = make_layer(call.op, call.name, library)
        args = tree.map_structure(_filler(values), call.args)
        values[call.output] = layers[id(call.op)](*args, **call.kwargs)
    for call in {id(call.op): call for call in wiring.calls}.values():
        give_weights(call.op, layers[id(call.op)])
    return library.Model(image, values[output], name=name)


def _filler(values: dict[str, Any]) -> Callable[[Ref], Any]:
    return lambda ref: values[ref.value]


def _check_legacy(model: Any) -> None:
    functional = getattr(model, "_is_graph_network", False)
    ends = [len(getattr(model, ends, None) or []) for ends in ("inputs", "outputs")]
    if not functional or ends != [1, 1]:
        raise KgraftError(
            "expected a functional tf_keras model with one input and one output; "
            f"{getattr(model, 'name', model)!r} is a {type(model).__name__} with {ends[0]} inputs "
            f"and {ends[1]} outputs: build one with tf_keras.Model(image, logits)"
        )
