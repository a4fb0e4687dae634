"""From a `Graph` to layers of its own and to a Keras functional model."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras

from kgraft.graph.ir import Call, Graph, Shape


def clone_op(op: Any, *, name: str | None = None, **overrides: Any) -> Any:
    """Makes an operation of the same configuration with no tie to the original.

    Args:
        op: a Keras layer or operation.
        name: name of the clone; None for the original's.
        **overrides: entries of the configuration to set otherwise.

    Returns:
        A new operation; a layer is not built yet.

    Raises:
        Exception: whatever the operation raises where its configuration does not make it again, as
            that of a `Lambda` does not.
    """
    config = {**op.get_config(), **overrides}
    if name is not None and "name" in config:
        config["name"] = name
    return type(op).from_config(config)


def unconstrained(op: Any) -> dict[str, None]:
    """Returns what overrides the constraints of a layer's weights.

    What they had to keep to in the training of the original, they need not when they are folded,
    solved and trained to something else.

    Args:
        op: a Keras layer or operation.

    Returns:
        Entries of its configuration; none for a layer that Keras has not.
    """
    if not isinstance(op, keras.layers.Layer) or not type(op).__module__.startswith("keras."):
        return {}
    return {
        entry: None
        for entry, value in op.get_config().items()
        if entry.endswith("_constraint") and value is not None
    }


def clone_built(op: keras.layers.Layer, shape: Shape, **overrides: Any) -> keras.layers.Layer:
    """Makes a layer of the same configuration whose weights are there and shall be set.

    Args:
        op: a layer of one input.
        shape: of its input, batch dimension included.
        **overrides: entries of the configuration to set otherwise.

    Returns:
        A new layer, built, that trains if the original does.
    """
    clone = clone_op(op, **overrides)
    with _beginning_at_zero([clone]):
        clone.build(shape)
        build_inside(clone, keras.KerasTensor(shape))
    clone.trainable = op.trainable
    return clone


def build_inside(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> None:
    """Builds the layers inside a layer, such as an activation with weights of its own.

    Keras leaves them for the first call on numbers where it knows the shape of what the layer makes
    without calling it.

    Args:
        layer: a built layer or model.
        *args: what it is called with, tensors symbolic.
        **kwargs: likewise.
    """
    if not all(inner.built for inner in layer._flatten_layers()):
        keras.Operation.compute_output_spec(layer, *args, **kwargs)


def rebuild(
    graph: Graph,
    new_op: Callable[[Call], Any],
    *,
    input_shape: Shape | None = None,
    blank: bool = False,
) -> Graph:
    """Makes a graph of the same wiring from other operations, built and with their own shapes.

    Args:
        graph: the pattern.
        new_op: gives the operation for a call; asked once for each operation of the pattern, so
            that a shared layer stays shared.
        input_shape: shape of the input, batch dimension included; None for the pattern's.
        blank: whether new layers begin at zero and not at what their initialisers draw, which takes
            time for nothing where weights are set afterwards.

    Returns:
        The new graph.
    """
    made = _Once(new_op)
    calls = tuple(dataclasses.replace(call, op=made(call)) for call in graph.calls)
    x = keras.Input(batch_shape=input_shape or graph.input_shape)
    wired = dataclasses.replace(graph, calls=calls)
    with _beginning_at_zero(wired.layers) if blank else contextlib.nullcontext():
        values = _built(wired, x)
    return dataclasses.replace(
        wired, shapes={name: tuple(value.shape) for name, value in values.items()}
    )


def _built(graph: Graph, x: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Builds the layers of a graph, and returns every value by its name."""
    values = graph.run(x, training=None)
    for call in graph.calls:
        if isinstance(call.op, keras.layers.Layer):
            args, kwargs = call.filled(values)
            build_inside(call.op, *args, **kwargs)
    return values


@contextlib.contextmanager
def _beginning_at_zero(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Puts zeros in the place of random initialisers of the layers that are built inside it."""
    zeros = keras.initializers.Zeros()
    drawn = [
        (layer, name, value)
        for layer in layers
        if not layer.built
        for name, value in vars(layer).items()
        if isinstance(value, keras.initializers.Initializer) and hasattr(value, "seed")
    ]
    for layer, name, _ in drawn:
        setattr(layer, name, zeros)
    try:
        yield
    finally:
        for layer, name, value in drawn:
            setattr(layer, name, value)


class _Once:
    """Asks for the operation of a call once per operation of the pattern."""

    def __init__(self, new_op: Callable[[Call], Any]) -> None:
        self._new_op = new_op
        self._made: dict[int, Any] = {}

    def __call__(self, call: Call) -> Any:
        if id(call.op) not in self._made:
            self._made[id(call.op)] = self._new_op(call)
        return self._made[id(call.op)]


def set_weights(layer: keras.layers.Layer, weights: Sequence[Any]) -> None:
    """Sets a layer's weights, and what it has derived from them.

    Args:
        layer: a built layer.
        weights: as its `get_weights` gives them.
    """
    layer.set_weights(weights)
    if isinstance(layer, keras.layers.Normalization):
        # It computes with a mean and variance of its own, worked out when it was built.
        layer.finalize_state()


def copy_weights(source: Graph, target: Graph) -> None:
    """Copies every weight between two graphs of the same calls and shapes."""
    for old, new in zip(source.calls, target.calls, strict=True):
        if isinstance(old.op, keras.layers.Layer) and old.op is not new.op and old.op.weights:
            set_weights(new.op, old.op.get_weights())


def clone_call(call: Call, *, trainable: bool, **overrides: Any) -> Any:
    """Makes an operation as a call's, named after the call.

    Args:
        call: the call.
        trainable: whether it trains where it is a layer.
        **overrides: entries of the configuration to set otherwise.

    Returns:
        What `clone_op` makes: a layer is not built yet.
    """
    op = clone_op(call.op, name=_plain_name(call.name), **overrides)
    if isinstance(op, keras.layers.Layer):
        op.trainable = trainable
    return op


def clone_graph(graph: Graph, *, trainable: bool) -> Graph:
    """Copies a graph with layers and weights of its own.

    Args:
        graph: the original; it does not change.
        trainable: whether the copy's layers train.

    Returns:
        The copy. Its layers are named after their calls, which tells apart the layers of nested
        models that have the same name.
    """
    clone = rebuild(graph, lambda call: clone_call(call, trainable=trainable), blank=True)
    copy_weights(graph, clone)
    return clone


def thawed(graph: Graph) -> Graph:
    """Takes out what froze calls: with a baked-in `training=False` no BatchNorm sees a batch.

    Args:
        graph: a graph whose weights are to be learned anew; it does not change.

    Returns:
        A graph of the same layers.
    """
    calls = []
    for call in graph.calls:
        kwargs = {name: value for name, value in call.kwargs.items() if name != "training"}
        calls.append(dataclasses.replace(call, kwargs=kwargs))
    return dataclasses.replace(graph, calls=tuple(calls))


def as_model(
    graph: Graph, *, name: str, shared: Collection[int] = (), frozen: bool = False
) -> keras.Model:
    """Builds the flat Keras functional model of a graph.

    Args:
        graph: the graph.
        name: name of the model.
        shared: ids of operations to use as they are; all others are cloned with their weights.
        frozen: whether cloned layers are marked not trainable.

    Returns:
        A functional model whose layers have the names of the calls, `/` and `#` turned to `_`.
    """
    taken: set[str] = {layer.name for layer in graph.layers if id(layer) in shared}

    def new_op(call: Call) -> Any:
        if id(call.op) in shared:
            return call.op
        op = clone_op(call.op, name=_layer_name(call.name, taken))
        if isinstance(op, keras.layers.Layer) and frozen:
            op.trainable = False
        return op

    made = _Once(new_op)
    wired = dataclasses.replace(
        graph, calls=tuple(dataclasses.replace(call, op=made(call)) for call in graph.calls)
    )
    x = keras.Input(batch_shape=(None, *graph.input_shape[1:]), name="image")
    with _beginning_at_zero(wired.layers):
        output = _built(wired, x)[graph.output]
    model = keras.Model(x, output, name=name)
    copy_weights(graph, wired)
    return model


def _plain_name(call_name: str) -> str:
    return call_name.replace("/", "_").replace("#", "_").replace(":", "_")


def _layer_name(call_name: str, taken: set[str]) -> str:
    base = _plain_name(call_name)
    name, number = base, 2
    while name in taken or name == "image":
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name
