"""A flat graph of calls: the form in which kgraft reads, cuts, edits and runs Keras models.

A `Graph` holds no weights of its own: its calls point to Keras layers and operations, so two graphs
may share layers, and an edit is a new tuple of calls. Values are named: the first output of a call
has the call's name, further ones `NAME:1`, `NAME:2`.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras import tree

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Ref:
    """A value of the graph standing in the arguments of a call."""

    value: str


@dataclasses.dataclass(frozen=True)
class Call:
    """One operation applied once.

    Attributes:
        name: unique in its graph; the layer's name, with the path of nested models in front
            (`backbone/conv1`) and `#2`, `#3` behind for further uses of a shared layer.
        op: the Keras layer or operation.
        args: positional arguments; tensors are `Ref`s.
        kwargs: keyword arguments; tensors are `Ref`s.
        outputs: names of the values it makes.
    """

    name: str
    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values this call reads, in argument order."""
        leaves = tree.flatten((self.args, dict(self.kwargs)))
        return tuple(leaf.value for leaf in leaves if isinstance(leaf, Ref))

    @property
    def input(self) -> str:
        """The one value this call reads.

        Raises:
            ValueError: the call reads none or several.
        """
        (value,) = self.inputs
        return value

    @property
    def output(self) -> str:
        """The first value this call makes."""
        return self.outputs[0]

    def renamed(self, names: Mapping[str, str]) -> "Call":
        """Returns the call with the values it reads renamed by `names`."""

        def rename(leaf: Any) -> Any:
            return Ref(names.get(leaf.value, leaf.value)) if isinstance(leaf, Ref) else leaf

        args, kwargs = tree.map_structure(rename, (self.args, dict(self.kwargs)))
        return dataclasses.replace(self, args=args, kwargs=kwargs)

    def filled(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments with `values` in the place of their names."""

        def fill(leaf: Any) -> Any:
            return values[leaf.value] if isinstance(leaf, Ref) else leaf

        return tree.map_structure(fill, (self.args, dict(self.kwargs)))

    def run(self, values: Mapping[str, Any], training: bool | None) -> list[Any]:
        """Applies the operation to `values` and returns its outputs in order.

        At inference everything runs as at inference, as Keras does it. In training, what the
        model's author froze with a baked-in `training=False` stays frozen. None leaves `training`
        as it is in the model.
        """
        args, kwargs = self.filled(values)
        baked = kwargs.pop("training", None)
        wanted = baked if training is None else training and baked is not False
        if wanted is not None and getattr(self.op, "_call_has_training_arg", False):
            kwargs["training"] = wanted
        return tree.flatten(self.op(*args, **kwargs))


@dataclasses.dataclass(frozen=True)
class Graph:
    """A piece of a network from one tensor to one tensor.

    Attributes:
        input: name of the value that comes in.
        output: name of the value that goes out.
        calls: the calls in an order in which they can run.
        shapes: static shape of every value, the unknown batch dimension included.
    """

    input: str
    output: str
    calls: tuple[Call, ...]
    shapes: Mapping[str, Shape]

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Runs the piece.

        Args:
            x: tensor that fits `input_shape`.
            training: passed to every layer that takes it; layers that the model's author froze
                stay frozen.

        Returns:
            The tensor named `output`.
        """
        return self.run(x, training)[self.output]

    def run(self, x: Any, training: bool | None = False) -> dict[str, Any]:
        """Runs the piece and returns every value by its name."""
        values = {self.input: x}
        for call in self.calls:
            values.update(zip(call.outputs, call.run(values, training), strict=True))
        return values

    @property
    def input_shape(self) -> Shape:
        """Static shape of the value that comes in, batch dimension included."""
        return self.shapes[self.input]

    @property
    def output_shape(self) -> Shape:
        """Static shape of the value that goes out, batch dimension included."""
        return self.shapes[self.output]

    @property
    def layers(self) -> tuple[keras.layers.Layer, ...]:
        """The layers, each once, in the order of their first call."""
        ops = {id(call.op): call.op for call in self.calls}
        return tuple(op for op in ops.values() if isinstance(op, keras.layers.Layer))

    @property
    def variables(self) -> list[Any]:
        """All variables of the layers."""
        return [v for layer in self.layers for v in layer.variables]

    @property
    def trainable_variables(self) -> list[Any]:
        """The variables of the layers that are marked trainable."""
        return [v for layer in self.layers for v in layer.trainable_variables]

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The variables of the layers that are not marked trainable."""
        return [v for layer in self.layers for v in layer.non_trainable_variables]

    @property
    def parameters(self) -> int:
        """Number of weights, frozen ones included; the statistics of BatchNorms are none."""
        return sum(layer.count_params() - _statistics(layer) for layer in self.layers)

    def call(self, name: str) -> Call:
        """Returns the call named `name`.

        Raises:
            KeyError: there is none.
        """
        for call in self.calls:
            if call.name == name:
                return call
        raise KeyError(name)

    def producer(self, value: str) -> Call | None:
        """Returns the call that makes `value`; None for the graph's input."""
        for call in self.calls:
            if value in call.outputs:
                return call
        return None

    def consumers(self, value: str) -> tuple[Call, ...]:
        """Returns the calls that read `value`."""
        return tuple(call for call in self.calls if value in call.inputs)

    def without(self, name: str) -> "Graph":
        """Returns the graph with a call of one input and one output taken out.

        Args:
            name: a call whose output may be replaced by its input.
        """
        gone = self.call(name)
        names = {gone.output: gone.input}
        return dataclasses.replace(
            self,
            output=names.get(self.output, self.output),
            calls=tuple(call.renamed(names) for call in self.calls if call.name != name),
        )

    def with_op(self, name: str, op: Any) -> "Graph":
        """Returns the graph with another operation in the call `name`; shapes must agree."""
        calls = tuple(
            dataclasses.replace(call, op=op) if call.name == name else call for call in self.calls
        )
        return dataclasses.replace(self, calls=calls)


def _statistics(layer: keras.layers.Layer) -> int:
    if not isinstance(layer, keras.layers.BatchNormalization):
        return 0
    return 2 * math.prod(layer.moving_mean.shape)


def prune(graph: Graph) -> Graph:
    """Returns the graph without the calls its output does not need."""
    needed = {graph.output}
    kept: list[Call] = []
    for call in reversed(graph.calls):
        if needed.intersection(call.outputs):
            kept.append(call)
            needed.update(call.inputs)
    made = {graph.input, *(value for call in kept for value in call.outputs)}
    shapes = {value: shape for value, shape in graph.shapes.items() if value in made}
    return dataclasses.replace(graph, calls=tuple(reversed(kept)), shapes=shapes)


def _fresh(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}#{number}", number + 1
    return candidate


def concat(graphs: tuple[Graph, ...]) -> Graph:
    """Joins pieces end to end.

    Args:
        graphs: one or more; each takes what the one before it puts out.

    Returns:
        One graph. A call whose name is taken by an earlier piece gets `#2`, `#3`, ... behind it.

    Raises:
        ValueError: two neighbours disagree on shape.
    """
    first = graphs[0]
    calls: list[Call] = []
    shapes = {first.input: first.input_shape}
    taken = {first.input}
    value = first.input
    for graph in graphs:
        if not _fits(shapes[value], graph.input_shape):
            raise ValueError(f"{graph.input} takes {graph.input_shape}; got {shapes[value]}")
        names = {graph.input: value}
        for call, new in _renumbered(graph.calls, names, taken):
            calls.append(new)
            for old_value, new_value in zip(call.outputs, new.outputs, strict=True):
                shapes[new_value] = graph.shapes[old_value]
        value = names[graph.output]
    return Graph(first.input, value, tuple(calls), shapes)


def _fits(got: Shape, wanted: Shape) -> bool:
    return len(got) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(got, wanted, strict=True)
    )


def _renumbered(
    calls: tuple[Call, ...], names: dict[str, str], taken: set[str]
) -> Iterator[tuple[Call, Call]]:
    for call in calls:
        name = _fresh(call.name, taken)
        outputs = tuple(name + value[len(call.name) :] for value in call.outputs)
        taken.update((name, *outputs))
        yield call, dataclasses.replace(call.renamed(names), name=name, outputs=outputs)
        names.update(zip(call.outputs, outputs, strict=True))
