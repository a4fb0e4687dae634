"""An adapter folded into its neighbours: which layer can take it in, and the arithmetic."""

import dataclasses
import math
from typing import Any

import numpy as np
from keras import layers as kl

from kgraft.graph import Call, Graph
from kgraft.students.blueprint import linear
from kgraft.students.channels import is_plain_conv

# Layers that commute with a bias-free 1x1 map: linear, and alike for every channel.
_COMMUTING = (
    kl.GlobalAveragePooling2D,
    kl.AveragePooling2D,
    kl.ZeroPadding2D,
    kl.Cropping2D,
    kl.UpSampling2D,
    kl.Flatten,
    kl.Identity,
    kl.Dropout,
)


class CannotFoldError(Exception):
    """Why an adapter stays, as a phrase for the report."""


@dataclasses.dataclass
class Folding:
    """A graph being folded: its wiring, and the weights and widths its layers will have.

    Layers are not touched; what changes is written down by call name, so that several adapters may
    fold into one layer before it is made anew.

    Attributes:
        graph: the wiring; adapters that folded are gone from it.
        weights: new weights by call name.
        overrides: new configuration entries by call name.
    """

    graph: Graph
    weights: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    overrides: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def of(self, call: Call) -> list[np.ndarray]:
        """Returns the weights a call's layer has by now."""
        return self.weights.get(call.name) or call.op.get_weights()

    def matrix(self, adapter: Call) -> np.ndarray:
        """Returns an adapter's weights as `[in_channels, out_channels]`."""
        kernel = self.of(adapter)[0]
        return kernel.reshape(kernel.shape[-2:])

    def uses(self, op: Any) -> int:
        """Returns how often a layer is called."""
        return sum(call.op is op for call in self.graph.calls)


def fold_into_reader_kernel(matrix: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Folds `(x @ matrix)` into the layer that reads it.

    Exact at borders too: zero padding stays zero under a map without bias.

    Args:
        matrix: the adapter, `[in_channels, mid_channels]`.
        kernel: `[..., places * mid_channels, out_channels]`; places are 1, or what flattening made.

    Returns:
        `[..., places * in_channels, out_channels]`.
    """
    incoming, mid = matrix.shape
    *window, features, out = kernel.shape
    split = kernel.reshape(*window, features // mid, mid, out)
    folded = np.einsum("im,...pmo->...pio", matrix.astype("float64"), split.astype("float64"))
    return folded.reshape(*window, features // mid * incoming, out).astype(kernel.dtype)


def merge(folding: Folding, before: Call, adapter: Call) -> None:
    """Merges two adapters that meet into the second one.

    Args:
        folding: changed in place.
        before: the first adapter, read by the second alone.
        adapter: the second.
    """
    product = folding.matrix(before).astype("float64") @ folding.matrix(adapter)
    kernel = folding.of(adapter)[0]
    shape = (*kernel.shape[:-2], *product.shape)
    folding.weights[adapter.name] = [product.reshape(shape).astype(kernel.dtype)]
    folding.graph = folding.graph.without(before.name)


def fold_forward(folding: Folding, adapter: Call) -> tuple[str, ...]:
    """Folds an adapter into all layers that read it.

    Args:
        folding: changed in place, or not at all.
        adapter: a call of a bias-free 1x1 map.

    Returns:
        The names of the calls that took it in.

    Raises:
        CannotFoldError: a reader cannot take it, or the folded readers would have more weights and
            more multiply-adds than readers and adapter together.
    """
    readers, passed = _readers(folding, adapter.output)
    matrix = folding.matrix(adapter)
    if _grows(folding, adapter, readers):
        names = ", ".join(reader.name for reader in readers)
        raise CannotFoldError(f"folded into {names} it would cost more than it does alone")
    for reader in readers:
        kernel, *rest = folding.of(reader)
        folding.weights[reader.name] = [fold_into_reader_kernel(matrix, kernel), *rest]
    for call in passed:
        if isinstance(call.op, kl.Reshape):
            shape = (*call.op.target_shape[:-1], matrix.shape[0])
            folding.overrides.setdefault(call.name, {})["target_shape"] = shape
    folding.graph = folding.graph.without(adapter.name)
    return tuple(reader.name for reader in readers)


def _grows(folding: Folding, adapter: Call, readers: list[Call]) -> bool:
    """Whether an adapter costs less alone, in weights and in multiply-adds.

    Behind a pool its readers look at fewer places than it does, and take it in whatever they weigh.
    """
    incoming, mid = folding.matrix(adapter).shape
    kernels = [folding.of(reader)[0].size for reader in readers]
    work = [size * _places(folding, reader) for size, reader in zip(kernels, readers, strict=True)]

    def grows(apart: int, alone: int) -> bool:
        return apart * incoming > (apart + alone) * mid

    alone = incoming * mid
    return grows(sum(kernels), alone) and grows(sum(work), alone * _places(folding, adapter))


def _places(folding: Folding, call: Call) -> int:
    """At how many places a call's kernel is applied; an open size counts as one."""
    return math.prod(dim or 1 for dim in folding.graph.shapes[call.output][1:-1])


def can_absorb_at(graph: Graph, value: str) -> bool:
    """Returns whether every layer that reads a value could take an adapter in."""
    try:
        _readers(Folding(graph), value)
    except CannotFoldError:
        return False
    return True


def _readers(folding: Folding, value: str) -> tuple[list[Call], list[Call]]:
    """The layers that mix the channels of a value next, and what lies between."""
    graph = folding.graph
    if value == graph.output:
        raise CannotFoldError("it makes the output")
    readers: list[Call] = []
    passed: list[Call] = []
    for call in graph.consumers(value):
        if is_plain_conv(call.op):
            if folding.uses(call.op) > 1:
                raise CannotFoldError(f"{call.name} reads it and is a shared layer")
            readers.append(call)
        elif isinstance(call.op, _COMMUTING) or _only_drops_ones(call, graph):
            more, between = _readers(folding, call.output)
            readers += more
            passed += [call, *between]
        else:
            raise CannotFoldError(
                f"{call.name} ({type(call.op).__name__}) reads it and cannot take it in"
            )
    return readers, passed


def _only_drops_ones(call: Call, graph: Graph) -> bool:
    if not isinstance(call.op, kl.Reshape):
        return False
    shapes = graph.shapes[call.input], graph.shapes[call.output]
    return all(dim == 1 for shape in shapes for dim in shape[1:-1])


def fold_backward(folding: Folding, adapter: Call) -> str:
    """Folds an adapter into the layer before it, if that ends without an activation.

    Args:
        folding: changed in place, or not at all.
        adapter: a call of a bias-free 1x1 map.

    Returns:
        The name of the call that took it in.

    Raises:
        CannotFoldError: what makes its input is not linear or is needed elsewhere too, or the
            folded layer would be larger than layer and adapter together.
    """
    writer = _writer(folding, adapter.input)
    matrix = folding.matrix(adapter)
    kernel, *bias = folding.of(writer)
    folded = np.einsum("...o,op->...p", kernel.astype("float64"), matrix.astype("float64"))
    if folded.size > kernel.size + matrix.size:
        raise CannotFoldError(f"folded into {writer.name} it would cost more than it does alone")
    new = [folded, *(b.astype("float64") @ matrix for b in bias)]
    folding.weights[writer.name] = [weight.astype(kernel.dtype) for weight in new]
    width = "units" if isinstance(writer.op, kl.Dense) else "filters"
    folding.overrides.setdefault(writer.name, {})[width] = matrix.shape[1]
    folding.graph = folding.graph.without(adapter.name)
    return writer.name


def _writer(folding: Folding, value: str) -> Call:
    graph = folding.graph
    call = graph.producer(value)
    if call is None or len(graph.consumers(value)) > 1:
        raise CannotFoldError(f"{value} is needed without it too")
    if not is_plain_conv(call.op):
        raise CannotFoldError(
            f"{call.name} ({type(call.op).__name__}) makes its input and is not linear"
        )
    if not linear(call.op):
        raise CannotFoldError(f"{call.name} has an activation at its end")
    if folding.uses(call.op) > 1:
        raise CannotFoldError(f"{call.name} makes its input and is a shared layer")
    return call
