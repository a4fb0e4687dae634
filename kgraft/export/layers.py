"""A converted file against the float32 one, layer by layer: weights as stored, noise as it runs."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from kgraft.errors import KgraftError, one_line
from kgraft.export.flatbuffer import Op, read_ops
from kgraft.export.quiet import quiet_stderr
from kgraft.export.records import LayerNoise
from kgraft.export.runner import dequantize, quantize

# Rounding is off by half a step at most; the step's other half is for the scales' own rounding. Of
# int64 biases a step is less than what float32 can tell apart.
_FLOAT32_SHARE = 2.0**-22
_CASTS = ("DEQUANTIZE", "QUANTIZE", "DENSIFY")
_FLOAT16_SHARE = 2.0**-10
_FLOAT16_LEAST = 2.0**-23
# A layer that says nothing but noise still has a finite ratio.
_LEAST_SIGNAL = 1e-30


@dataclasses.dataclass(frozen=True)
class WrongWeight:
    """A layer whose stored weights are not the float32 file's, rounded.

    Attributes:
        name: name of the layer's output.
        off: largest difference, as a multiple of what rounding explains.
    """

    name: str
    off: float


class Layers:
    """The layers that two files of one student share.

    Both come from one graph by the same passes, so that leaving out what turns numbers into other
    types they are the same ops in the same order. Where they are not, layers are paired by op and
    name; names alone do not do, as the converter numbers those that come twice. What then has no
    partner is told by `unpaired`, if it has weights.
    """

    def __init__(self, data: bytes, float32: bytes):
        """Reads both files.

        Args:
            data: the file in question.
            float32: the float32 file, of the same input.

        Raises:
            KgraftError: a file does not run without the runtime's delegates.
        """
        self._ours, self._theirs = _Watched(data), _Watched(float32)
        self._pairs = _pairs(self._ours.ops, self._theirs.ops)

    def unpaired(self) -> tuple[str, ...]:
        """Names the layers with weights that `wrong_weights` has nothing to compare with.

        Returns:
            Layers of the float32 file whose weights the file lacks or holds in another shape, then
            those of the file that the float32 file has not; each by its output's name.
        """
        missing = self._theirs.weighted()
        added = self._ours.weighted()
        for op, other in self._pairs:
            added.pop(op.output, None)
            held = sum(1 for _ in self._constants(op, other))
            if held == self._theirs.weights(other):
                missing.pop(other.output, None)
        return (*missing.values(), *added.values())

    def wrong_weights(self) -> tuple[WrongWeight, ...]:
        """Finds the layers with weights that rounding does not explain, the worst first."""
        found = []
        for op, other in self._pairs:
            # numpy's maximum keeps a NaN, which Python's may drop.
            offs = [_off(mine, theirs) for mine, theirs in self._constants(op, other)]
            off = float(np.max(offs, initial=0.0))
            if not off <= 1:
                found.append(WrongWeight(other.name, math.inf if math.isnan(off) else off))
        return tuple(sorted(found, key=lambda wrong: -wrong.off))

    def noise(self, images: np.ndarray) -> tuple[LayerNoise, ...]:
        """Runs both files and compares what every layer says.

        Args:
            images: `[n, height, width, channels]`, as the files take them.

        Returns:
            The layers both have, the noisiest first.

        Raises:
            KgraftError: the file does not run, or a layer says something of another shape than in
                the float32 file, or what is not finite there.
        """
        signal, noise = np.zeros(len(self._pairs)), np.zeros(len(self._pairs))
        for image in images:
            self._ours.run(image)
            self._theirs.run(image)
            for number, (op, other) in enumerate(self._pairs):
                said, exact = self._ours.value(op.output), self._theirs.value(other.output)
                said, exact = _comparable(other.name, said, exact)
                signal[number] += np.sum(exact**2)
                noise[number] += np.sum((said - exact) ** 2)
        layers = [
            LayerNoise(other.name, other.op, _decibels(float(signal[i]), float(noise[i])))
            for i, (_, other) in enumerate(self._pairs)
        ]
        return tuple(sorted(layers, key=_noisiest_first))

    def _constants(self, op: Op, other: Op) -> Iterator[tuple["_Constant", np.ndarray]]:
        """Weights at the same place of both layers, where they are of one shape."""
        for mine, theirs in zip(op.inputs, other.inputs, strict=False):
            ours, exact = self._ours.constant(mine), self._theirs.constant(theirs)
            if ours is None or exact is None:
                continue
            if ours.values.shape == exact.values.shape:
                yield ours, exact.values


@dataclasses.dataclass(frozen=True, eq=False)
class _Constant:
    """Weights as a file holds them; `step` is what rounding moves a value by, at each value."""

    values: np.ndarray
    step: np.ndarray


class _Watched:
    """A file whose every tensor can be read: run without delegates, which hide what they make."""

    def __init__(self, data: bytes):
        with _runs(), quiet_stderr():
            self._interpreter = Interpreter(
                model_content=data,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        ops, self._constants = read_ops(data)
        self._made_by = {op.output: op for op in ops}
        self.ops = [op for op in ops if op.op not in _CASTS]
        self._details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        self._input = self._interpreter.get_input_details()[0]
        if any(op.op == "DENSIFY" for op in ops):
            # Kernels stored without their zeros are whole once an op has made them so.
            self.run(np.zeros(self._input["shape"][1:], np.float32))

    def run(self, image: np.ndarray) -> None:
        """Runs the file on one image, for `value` to read."""
        with _runs():
            self._interpreter.set_tensor(self._input["index"], quantize(image[None], self._input))
            self._interpreter.invoke()

    def value(self, tensor: int) -> np.ndarray:
        """Returns what the last run has put into a tensor, as float32."""
        return dequantize(self._interpreter.get_tensor(tensor), self._details[tensor])

    def weighted(self) -> dict[int, str]:
        """The names of all layers with weights, by output."""
        return {op.output: op.name for op in self.ops if self.weights(op)}

    def weights(self, op: Op) -> int:
        """How many of a layer's inputs are weights."""
        return sum(self.constant(tensor) is not None for tensor in op.inputs)

    def constant(self, tensor: int) -> _Constant | None:
        """Reads weights, no shapes or axes; those in float16 come through an op that widens."""
        maker, holder = self._made_by.get(tensor), tensor
        if maker is not None and maker.op in _CASTS:
            holder = maker.inputs[0]
            # What a sparse tensor itself reads as are its numbers other than zero, in a row.
            tensor = tensor if maker.op == "DENSIFY" else holder
        if holder not in self._constants:
            return None
        stored = self._interpreter.get_tensor(tensor)
        if stored.dtype == np.float16:
            real = stored.astype(np.float32)
            return _Constant(real, np.maximum(np.abs(real) * _FLOAT16_SHARE, _FLOAT16_LEAST))
        if np.issubdtype(stored.dtype, np.floating):
            return _Constant(stored, np.full(stored.shape, np.finfo(np.float32).tiny))
        if not np.issubdtype(stored.dtype, np.integer):
            return None
        return _dequantized(stored, self._details[tensor]["quantization_parameters"])


def _pairs(ours: list[Op], theirs: list[Op]) -> list[tuple[Op, Op]]:
    if [op.op for op in ours] == [op.op for op in theirs]:
        return list(zip(ours, theirs, strict=True))
    known = {(op.op, op.name): op for op in theirs}
    return [(op, known[op.op, op.name]) for op in ours if (op.op, op.name) in known]


def _dequantized(stored: np.ndarray, quantization: dict[str, Any]) -> _Constant | None:
    scales = np.asarray(quantization["scales"], np.float64)
    if not scales.size:
        return None
    shape = [1] * stored.ndim
    if scales.size > 1:
        shape[quantization["quantized_dimension"]] = scales.size
    scale = scales.reshape(shape)
    zero = np.asarray(quantization["zero_points"], np.float64).reshape(shape)
    real = (stored - zero) * scale
    return _Constant(real, scale + np.abs(real) * _FLOAT32_SHARE)


def _off(mine: _Constant, exact: np.ndarray) -> float:
    if not exact.size:
        return 0.0
    # What is equal is off by nothing, were it infinite or its step 0.
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(mine.values - exact.astype(np.float64)) / mine.step
    return float(np.max(np.where(mine.values == exact, 0.0, off)))


def _comparable(name: str, said: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a layer says where the student's number is finite; a mask may hold infinities."""
    if said.shape != exact.shape:
        raise KgraftError(f"makes {said.shape} in the layer {name}, the student {exact.shape}")
    finite = np.isfinite(exact)
    if not np.isfinite(said[finite]).all():
        raise KgraftError(f"makes numbers that are not finite in the layer {name}")
    return said[finite].astype(np.float64), exact[finite].astype(np.float64)


@contextlib.contextmanager
def _runs() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = one_line(error)
        raise KgraftError(f"does not run without delegates: {reason}") from error


def _decibels(signal: float, noise: float) -> float | None:
    if noise == 0:
        return None
    return 10 * math.log10(max(signal, _LEAST_SIGNAL) / noise)


def _noisiest_first(layer: LayerNoise) -> float:
    return math.inf if layer.snr_db is None else layer.snr_db
