"""From a Keras functional model to a `Graph`: the only module that walks Keras nodes."""

import dataclasses
from typing import Any

import keras
from keras import tree

from kgraft.errors import KgraftError
from kgraft.graph.build import build_inside
from kgraft.graph.ir import Call, Graph, Ref, Shape, prune


def trace_model(model: keras.Model) -> Graph:
    """Reads a functional model, nested models and shared layers included, into one flat graph.

    The graph shares the model's layers; nothing of the model changes, but that what its layers have
    inside is built where it was not yet.

    Args:
        model: a built Functional or Sequential model with one input and one output.

    Returns:
        The graph from the model's input (named `input`) to its output.

    Raises:
        KgraftError: the model is not functional, or has several inputs or outputs.
    """
    function = _as_function(model)
    if function is None:
        raise KgraftError(
            f"expected a Keras functional (or built Sequential) model; {model.name!r} is a "
            f"{type(model).__name__} whose graph cannot be read: rebuild it with "
            "keras.Model(inputs, outputs)"
        )
    for what, tensors in (("input", function.inputs), ("output", function.outputs)):
        if len(tensors) != 1:
            names = ", ".join(t.name for t in tensors)
            raise KgraftError(
                f"expected a model with one {what}; {model.name!r} has {len(tensors)} ({names}): "
                f"build one with a single {what}"
            )
    build_inside(function, function.input)
    tracer = _Tracer()
    value = tracer.add_input(function.inputs[0])
    (output,) = tracer.trace(function, [value], prefix="", training=None)
    return prune(Graph(value, output, tuple(tracer.calls), tracer.shapes))


def _as_function(op: Any) -> Any:
    """Returns the `Function` with the op's nodes if the op only runs a graph, else None."""
    if isinstance(op, keras.Sequential):
        return op._functional if op.built else None
    if isinstance(op, _FUNCTIONAL) and type(op).call is _FUNCTIONAL.call:
        return op
    return None


def _functional_class() -> Any:
    x = keras.Input((1,))
    return type(keras.Model(x, keras.layers.Identity()(x)))


_FUNCTIONAL = _functional_class()


@dataclasses.dataclass
class _Tracer:
    """Collects calls while graphs are walked, outermost first."""

    calls: list[Call] = dataclasses.field(default_factory=list)
    shapes: dict[str, Shape] = dataclasses.field(default_factory=dict)
    uses: dict[str, int] = dataclasses.field(default_factory=dict)

    def add_input(self, tensor: Any) -> str:
        """Records the one input and returns its name."""
        self.shapes["input"] = tuple(tensor.shape)
        self.uses["input"] = 1
        return "input"

    def trace(
        self, function: Any, inputs: list[str], *, prefix: str, training: bool | None
    ) -> list[str]:
        """Adds the calls of one (nested) model and returns the names of its output values."""
        values = {id(t): name for t, name in zip(function.inputs, inputs, strict=True)}
        for depth in sorted(function._nodes_by_depth, reverse=True):
            for node in function._nodes_by_depth[depth]:
                if node.operation is not None and not node.is_input:
                    self._trace_node(node, values, prefix=prefix, training=training)
        return [values[id(t)] for t in function.outputs]

    def _trace_node(
        self, node: Any, values: dict[int, str], *, prefix: str, training: bool | None
    ) -> None:
        args, kwargs = node.arguments.convert(
            lambda x: Ref(values[id(x)]) if isinstance(x, keras.KerasTensor) else x
        )
        if kwargs.get("training") is not None:
            training = kwargs["training"]
        nested = _as_function(node.operation)
        name = self._unique(prefix + node.operation.name)
        if nested is not None:
            leaves = tree.flatten((args, kwargs))
            inputs = [leaf.value for leaf in leaves if isinstance(leaf, Ref)]
            outputs = self.trace(nested, inputs, prefix=name + "/", training=training)
        else:
            if training is not None and getattr(node.operation, "_call_has_training_arg", False):
                kwargs = {**kwargs, "training": training}
            outputs = [name] + [f"{name}:{i}" for i in range(1, len(node.outputs))]
            self.calls.append(Call(name, node.operation, tuple(args), kwargs, tuple(outputs)))
            self.shapes.update(zip(outputs, self._output_shapes(node, values), strict=True))
        values.update((id(t), value) for t, value in zip(node.outputs, outputs, strict=True))

    def _output_shapes(self, node: Any, values: dict[int, str]) -> list[Shape]:
        """Shapes as they are here: a nested model may have been built for other or unknown ones."""
        args, kwargs = node.arguments.args, node.arguments.kwargs
        inputs = [t for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
        if all(self.shapes[values[id(t)]] == tuple(t.shape) for t in inputs):
            return [tuple(tensor.shape) for tensor in node.outputs]
        args, kwargs = node.arguments.convert(
            lambda x: (
                keras.KerasTensor(self.shapes[values[id(x)]], dtype=x.dtype)
                if isinstance(x, keras.KerasTensor)
                else x
            )
        )
        outputs = tree.flatten(node.operation.compute_output_spec(*args, **kwargs))
        return [tuple(tensor.shape) for tensor in outputs]

    def _unique(self, name: str) -> str:
        self.uses[name] = self.uses.get(name, 0) + 1
        return name if self.uses[name] == 1 else f"{name}#{self.uses[name]}"
