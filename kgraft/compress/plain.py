"""Layers written down one after another; activations that only one Keras has, as layers of both."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kgraft.compress.layers import ACTIVATIONS, Spec, unsupported
from kgraft.graph import Call, Ref

MERGING = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
# Of two values at a time, what comes in between is a value like any other.
_PAIRWISE = ("Add", "Multiply", "Average", "Maximum", "Minimum")


@dataclasses.dataclass
class Wiring:
    """Layers called one after another, as they are written down.

    Attributes:
        calls: an operation is a `Spec`; a call makes one value, which has the call's name.
        values: what the values of the model that is read are called here.
        linear: by the id of a layer's description, that of the layer without its activation.
    """

    calls: list[Call] = dataclasses.field(default_factory=list)
    values: dict[str, str] = dataclasses.field(default_factory=dict)
    linear: dict[int, Spec] = dataclasses.field(default_factory=dict)

    def add(
        self, name: str, spec: Spec, inputs: Sequence[str], *, training: bool | None = None
    ) -> str:
        """Adds a call.

        Args:
            name: of the call; `_2`, `_3`, ... goes behind one that is taken.
            spec: the layer; the same one twice is a shared layer.
            inputs: the values it reads.
            training: what the model's author fixed; None for nothing.

        Returns:
            The name of the value it makes.
        """
        taken = {"image", *(call.name for call in self.calls)}
        base = name.replace("/", "_").replace("#", "_").replace(":", "_")
        fresh, number = base, 2
        while fresh in taken:
            fresh, number = f"{base}_{number}", number + 1
        refs = [Ref(value) for value in inputs]
        args = (refs,) if spec.kind in MERGING else tuple(refs)
        kwargs = {} if training is None else {"training": training}
        self.calls.append(Call(fresh, spec, args, kwargs, (fresh,)))
        return fresh

    def chain(self, name: str, specs: Sequence[Spec], value: str) -> str:
        """Adds layers that read one another, and returns the last value."""
        for index, spec in enumerate(specs):
            last = index == len(specs) - 1
            value = self.add(name if last else f"{name}_{index}", spec, [value])
        return value


def rescaling(scale: Any, offset: Any = 0.0) -> Spec:
    """Returns a layer that makes `x * scale + offset`."""
    return Spec("Rescaling", {"scale": scale, "offset": offset})


def relu(**settings: Any) -> Spec:
    """Returns a `ReLU`; `max_value`, `negative_slope` and `threshold` as Keras names them."""
    return Spec("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0, **settings})


def activation(name: str) -> Spec:
    """Returns an `Activation`; the name is one of `ACTIVATIONS`."""
    return Spec("Activation", {"activation": name})


def add_layer(
    wiring: Wiring, name: str, spec: Spec, inputs: Sequence[str], **training: bool | None
) -> str:
    """Adds a layer; one whose activation both do not have is followed by layers that make it.

    One that merges several values becomes layers of two each, and an average a sum that is scaled:
    as one layer what comes in between would have no int8 range.

    Args:
        wiring: where to.
        name: of the layer.
        spec: as `read_layer` returns it.
        inputs: the values it reads.
        **training: `training`, where the model's author fixed it.

    Returns:
        The name of the value that comes out.

    Raises:
        KgraftError: its activation cannot be made of layers that both have.
    """
    if spec.kind in _PAIRWISE and (len(inputs) > 2 or spec.kind == "Average"):
        return _add_pairwise(wiring, name, spec, inputs)
    function = spec.settings.get("activation", "linear")
    # A swish is two ops in a file: what goes in needs an int8 range, as a value of its own has.
    inside = function == "silu" and spec.kind != "Activation"
    if function in ACTIVATIONS and not inside:
        return wiring.add(name, spec, inputs, **training)
    if spec.kind == "Activation":
        return add_activation(wiring, name, function, inputs[0])
    # A shared layer stays one: it is asked for by each of its calls.
    if id(spec) not in wiring.linear:
        settings = {**spec.settings, "activation": "linear"}
        wiring.linear[id(spec)] = dataclasses.replace(spec, settings=settings)
    value = wiring.add(name, wiring.linear[id(spec)], inputs, **training)
    return add_activation(wiring, f"{name}_{function}", function, value)


def _add_pairwise(wiring: Wiring, name: str, spec: Spec, inputs: Sequence[str]) -> str:
    average = spec.kind == "Average"
    pair = Spec("Add", {}) if average else spec
    value, *others = inputs
    for number, other in enumerate(others, 1):
        last = number == len(others) and not average
        # Each is a layer of its own, with a range of its own.
        own = dataclasses.replace(pair)
        value = wiring.add(name if last else f"{name}_{number}", own, [value, other])
    return wiring.add(name, rescaling(1.0 / len(inputs)), [value]) if average else value


def add_activation(wiring: Wiring, name: str, function: str, value: str) -> str:
    """Adds an activation by its name in Keras 3.

    Args:
        wiring: where to.
        name: of the call.
        function: the activation.
        value: what it is applied to.

    Returns:
        The name of the value that comes out.

    Raises:
        KgraftError: it is neither in `ACTIVATIONS` nor made of layers that both have.
    """
    if function in ACTIVATIONS:
        return wiring.add(name, activation(function), [value])
    if function in _CHAINS:
        return wiring.chain(name, _CHAINS[function](), value)
    if function == "hard_silu":
        gate = wiring.chain(f"{name}_gate", _hard_sigmoid(), value)
        return wiring.add(name, Spec("Multiply", {}), [value, gate])
    if function == "tanh_gelu":
        return _add_tanh_gelu(wiring, name, value)
    raise unsupported(
        name,
        f"it applies {function}",
        f"use an activation among {', '.join(sorted([*ACTIVATIONS, *_CHAINS, 'hard_silu']))}",
    )


def _add_tanh_gelu(wiring: Wiring, name: str, x: str) -> str:
    """`x / 2 * (1 + tanh(sqrt(2 / pi) * x * (1 + 0.044715 * x^2)))`."""
    square = wiring.add(f"{name}_square", Spec("Multiply", {}), [x, x])
    slope = math.sqrt(2.0 / math.pi)
    bend = wiring.add(f"{name}_bend", rescaling(0.044715 * slope, slope), [square])
    inner = wiring.add(f"{name}_inner", Spec("Multiply", {}), [x, bend])
    gate = wiring.chain(f"{name}_gate", [activation("tanh"), rescaling(0.5, 0.5)], inner)
    return wiring.add(name, Spec("Multiply", {}), [x, gate])


def _hard_sigmoid() -> list[Spec]:
    return [rescaling(1.0, 3.0), relu(max_value=6.0), rescaling(1.0 / 6.0)]


_CHAINS: Mapping[str, Callable[[], list[Spec]]] = {
    "relu6": lambda: [relu(max_value=6.0)],
    "leaky_relu": lambda: [Spec("LeakyReLU", {"negative_slope": 0.2})],
    "hard_sigmoid": _hard_sigmoid,
    "hard_sigmoid_of_keras_2": lambda: [rescaling(0.2, 0.5), relu(max_value=1.0)],
}
