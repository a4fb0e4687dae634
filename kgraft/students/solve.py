"""Layers of a student body solved in closed form; nothing here is a gradient step."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import layers as kl

from kgraft.graph import Call, Graph, run_calls
from kgraft.students.blueprint import Blueprint, Fit
from kgraft.students.layer_fit import LayerFit, Wanted
from kgraft.students.sparse import Sparsity


@dataclasses.dataclass(frozen=True)
class Solved:
    """What solving a body gives.

    Attributes:
        output: of the body on all examples, `[examples, ...]`.
        chosen: for each layer that was told to do with fewer inputs, the channels it reads.
    """

    output: np.ndarray
    chosen: dict[str, np.ndarray]


def solve_body(
    blueprint: Blueprint,
    body: Graph,
    *,
    entry: np.ndarray,
    student_entry: np.ndarray,
    seed: int,
    choose: Mapping[str, int] | None = None,
    sparse: Mapping[str, Sparsity] | None = None,
) -> Solved:
    """Fits each convolution and dense layer of a body to what the teacher makes, in order.

    Each layer's weights are moved, by ridge regression towards the weights they have, so that from
    the body's own values it makes the teacher's (FSKD's least squares, applied to every layer).

    Args:
        blueprint: what each layer shall make.
        body: its layers' weights are set.
        entry: the teacher's activations at the entry, `[examples, ..., channels]`.
        student_entry: what comes into the body, same examples.
        seed: seed for the choice of places.
        choose: for some layers, by call, how many of their input channels they may read; the
            weights of the others become zero.
        sparse: for some layers, by call, how many of their weights become zero.

    Returns:
        The output and the choices.
    """
    fits = {fit.call: fit for fit in blueprint.fits}
    teacher = _TeacherValues(blueprint, entry)
    chosen: dict[str, np.ndarray] = {}
    # A block of layers that do nothing at inference has no call, and gives what it takes.
    values = {body.input: student_entry}
    for number, (call, values) in enumerate(run_calls(body, student_entry)):
        fit = fits.get(call.name)
        if fit is None:
            continue
        wanted = Wanted(
            teacher.parts(fit), _rest(body, call, fit, values), _bounds(body, call, fit)
        )
        problem = LayerFit(call.op, values[call.input], wanted, (seed, number))
        keep = (choose or {}).get(call.name)
        if keep is not None and keep < problem.x.shape[-1]:
            chosen[call.name] = problem.solve_reduced(keep)
        elif sparse and call.name in sparse:
            problem.solve_sparse(sparse[call.name])
        else:
            problem.solve()
        teacher.release(fit)
    return Solved(values[body.output], chosen)


class _TeacherValues:
    """The teacher's values that fits want, made when they are wanted and let go afterwards."""

    def __init__(self, blueprint: Blueprint, entry: np.ndarray) -> None:
        self._walk = run_calls(blueprint.teacher, entry)
        self._uses: dict[str, int] = {}
        self._found: dict[str, np.ndarray] = {}
        self._live: dict[str, np.ndarray] = {}
        for fit in blueprint.fits:
            for value, _ in fit.parts:
                self._uses[value] = self._uses.get(value, 0) + 1

    def parts(self, fit: Fit) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the values of a fit and which of their channels."""
        while any(value not in self._found for value, _ in fit.parts):
            _, self._live = next(self._walk, (None, self._live))
            for value in self._uses.keys() & self._live.keys():
                self._found[value] = self._live[value]
        return [(self._found[value], channels) for value, channels in fit.parts]

    def release(self, fit: Fit) -> None:
        """Lets go of values that no further fit wants."""
        for value, _ in fit.parts:
            self._uses[value] -= 1
            if not self._uses[value]:
                del self._uses[value], self._found[value]


def _rest(body: Graph, call: Call, fit: Fit, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What else goes into the sum that a layer is fitted to."""
    if fit.value == call.output:
        return []
    addition = body.producer(fit.value)
    return [values[value] for value in addition.inputs if value != call.output]  # type: ignore


def _bounds(body: Graph, call: Call, fit: Fit) -> tuple[float, float] | None:
    """Between which values the one that a layer is fitted to matters."""
    if fit.value == call.output:
        own = _activation_bounds(call.op.activation)
        if own is not None:
            return own
    readers = body.consumers(fit.value)
    if len(readers) != 1 or fit.value == body.output:
        return None
    return rectifier_bounds(readers[0].op)


def rectifier_bounds(op: Any) -> tuple[float, float] | None:
    """Finds between which values an activation leaves alone what it is given, and cuts it off else.

    Args:
        op: a layer or an operation.

    Returns:
        The bounds; None where it is no ReLU or ReLU6.
    """
    if isinstance(op, kl.Activation):
        return _activation_bounds(op.activation)
    return None if isinstance(op, kl.Layer) and not isinstance(op, kl.ReLU) else _relu_bounds(op)


def _relu_bounds(op: Any) -> tuple[float, float] | None:
    """Of a ReLU as a layer, or as an operation that may have the layer's settings."""
    if getattr(op, "threshold", 0.0) or getattr(op, "negative_slope", 0.0):
        return None
    limit = getattr(op, "max_value", None)
    if limit is not None:
        return 0.0, float(limit)
    return _named_bounds(type(op).__name__.lower())


def _activation_bounds(activation: Any) -> tuple[float, float] | None:
    return _named_bounds(getattr(activation, "__name__", ""))


def _named_bounds(name: str) -> tuple[float, float] | None:
    return {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}.get(name)
