"""One layer fitted in closed form: its least-squares problem on the values that reach it."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kgraft.graph import batch_slices
from kgraft.students.channels import is_depthwise
from kgraft.students.importance import channel_energy
from kgraft.students.patches import patches_at
from kgraft.students.ridge import (
    MOST_SQUARED,
    NormalEquations,
    RidgeSystem,
    RowSystem,
    best_strength,
    ridge,
)
from kgraft.students.selection import MOST_FEATURES, least_missed
from kgraft.students.sparse import SparseSystem, Sparsity

LAYER_RIDGE = 1e-2
# Strengths tried on held-out examples where a layer is fitted.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
# Where weights go, the others have to move. What held-out examples would choose with all weights is
# too strong for that: the weights that are pulled towards make almost what is wanted.
_SPARSE_RIDGE = 1e-1
# Weaker than what weights are pulled by: here it only keeps the inverse well.
_SELECTION_RIDGE = 1e-3
# Rows per unknown beyond which more places of the same images no longer change the fit.
_ROWS_PER_FEATURE = 16
_MIN_ROWS = 20_000
# Part of the entropy of random places, so that they share no stream with draw and views.
_PLACES = 11
# Examples are gone through in at least so many pieces, of which every fourth is held out while the
# strength of the ridge is chosen.
_PIECES = 8
_HELDOUT = 4
# How often the targets below a ReLU are set anew.
_RECTIFIED_ROUNDS = 3

Solution = tuple[np.ndarray, np.ndarray]  # weights and bias


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What shall come out at a layer.

    Attributes:
        parts: the teacher's values, `[examples, ..., channels]`, and which of their channels.
        rest: what is added to the layer's output before it is compared, same places.
        bounds: between which values a difference matters: where a ReLU follows, values below 0
            are as good as 0. None where all do.
    """

    parts: list[tuple[np.ndarray, np.ndarray]]
    rest: list[np.ndarray]
    bounds: tuple[float, float] | None

    def at(
        self, batch: slice, places: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the teacher's values and the rest at some places, each `[places, channels]`."""
        rows = [_columns(values[batch][places], channels) for values, channels in self.parts]
        wanted = rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
        added = [values[batch][places] for values in self.rest]
        return wanted, sum(added[1:], added[0]) if added else None


def _columns(rows: np.ndarray, channels: np.ndarray) -> np.ndarray:
    return rows if len(channels) == rows.shape[1] else rows[:, channels]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Which rows of a problem are looked at.

    Attributes:
        channels: of what reaches the layer; None for all.
        share: of the places, drawn at random. What is solved again has to see the same ones.
    """

    channels: np.ndarray | None
    share: float


@dataclasses.dataclass(frozen=True)
class LayerFit:
    """The least-squares problem of one layer.

    Attributes:
        layer: a convolution, depthwise convolution or dense layer; its weights are set.
        x: what reaches it, `[examples, ..., channels]`.
        wanted: what shall come out.
        seed: entropy of the choice of places, the run's seed first.
    """

    layer: Any
    x: np.ndarray
    wanted: Wanted
    seed: tuple[int, ...]

    def solve(self) -> None:
        """Sets the layer's weights."""
        kernel = np.asarray(self.layer.kernel)
        rows = self._every()
        if is_depthwise(self.layer):
            drawn = ((x, y if rest is None else y - rest) for _, x, y, rest in self._drawn(rows))
            new, bias = _fit_depthwise(drawn, kernel, bias=self.layer.use_bias)
        else:
            towards = kernel.reshape(-1, kernel.shape[-1]).astype("float64")
            if self._has_few_rows(len(towards)):
                new, bias = self._solved_by_rows(towards)
            else:
                new, bias = self._solved(rows, towards, self._equations(rows, towards.shape))
        self._set(new.reshape(kernel.shape), bias)

    def solve_sparse(self, sparsity: Sparsity) -> None:
        """Sets the layer's weights, zero for all but those it needs most.

        Args:
            sparsity: how many go; the layer is a convolution or dense layer.
        """
        kernel = np.asarray(self.layer.kernel)
        towards = kernel.reshape(-1, kernel.shape[-1]).astype("float64")
        rows = self._every()
        equations = self._equations(rows, towards.shape)
        new, bias = self._solved(rows, towards, equations, sparsity)
        self._set(new.reshape(kernel.shape), bias)

    def solve_reduced(self, keep: int) -> np.ndarray:
        """Sets the layer's weights, zero for all but the `keep` channels it needs most.

        Args:
            keep: number of channels.

        Returns:
            The channels it reads, ascending.
        """
        kernel = np.asarray(self.layer.kernel, "float64")
        kernel = kernel.reshape(-1, *kernel.shape[-2:])
        candidates = self._candidates(kernel, keep)
        towards = kernel[:, candidates]
        size = (towards.shape[0] * len(candidates), towards.shape[-1])
        rows = _Rows(candidates, self._share(len(candidates)))
        fit, held = self._equations(rows, size)
        stay = least_missed(
            fit.plus(held),
            len(candidates),
            keep=keep,
            strength=_SELECTION_RIDGE,
            bias=self.layer.use_bias,
        )
        features = np.arange(size[0]).reshape(-1, len(candidates))[:, stay].ravel()
        equations = fit.subset(features), held.subset(features)
        rows = dataclasses.replace(rows, channels=candidates[stay])
        new, bias = self._solved(rows, towards.reshape(size)[features], equations)
        full = np.zeros_like(kernel)
        full[:, candidates[stay]] = new.reshape(-1, keep, size[1])
        self._set(full.reshape(self.layer.kernel.shape), bias)
        return candidates[stay]

    def _candidates(self, kernel: np.ndarray, keep: int) -> np.ndarray:
        """The channels that bring most energy, as many as can be chosen among."""
        most = max(keep, MOST_FEATURES // kernel.shape[0])
        if most >= kernel.shape[1]:
            return np.arange(kernel.shape[1])
        scores = channel_energy(self.x) * np.square(kernel).sum(axis=(0, 2))
        return np.sort(np.argsort(-scores, kind="stable")[:most])

    def _solved(
        self,
        rows: _Rows,
        towards: np.ndarray,
        equations: tuple[NormalEquations, NormalEquations],
        sparsity: Sparsity | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights and bias from the problem's rows, the held-out ones apart."""
        fit, held = equations
        bias = self.layer.use_bias
        strength = LAYER_RIDGE
        if sparsity is not None:
            strength = _SPARSE_RIDGE
        elif fit.rows and held.rows:
            strength = best_strength(fit, held, towards, strengths=STRENGTHS, bias=bias)
        system: RidgeSystem | SparseSystem
        system = RidgeSystem.of(fit.plus(held), towards, strength=strength, bias=bias)
        if sparsity is not None:
            system = SparseSystem.of(system, sparsity, self.layer.kernel.shape[-2])
        if self.wanted.bounds is None:
            return system.solve()
        return self._rectified(rows, system, self.wanted.bounds)

    def _has_few_rows(self, features: int) -> bool:
        """Whether sums over features would take much memory, and the rows are fewer."""
        rows = self._share(None) * math.prod(self.wanted.parts[0][0].shape[:-1])
        return features > MOST_SQUARED and rows < features

    def _solved_by_rows(self, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights and bias as `_solved` finds them."""
        pieces, xs, wanteds, rests = zip(*self._drawn(self._every()), strict=True)
        apart = np.repeat([piece % _HELDOUT == _HELDOUT - 1 for piece in pieces], [*map(len, xs)])
        x, wanted = np.concatenate(xs), np.concatenate(wanteds)
        rest = 0.0 if rests[0] is None else np.concatenate(rests)

        def heldout_error(strength: float) -> float:
            system = RowSystem.of(x[~apart], towards, strength=strength, bias=self.layer.use_bias)
            weights, bias = system.solve((wanted - rest)[~apart])
            return float(np.square(x[apart] @ weights + bias - (wanted - rest)[apart]).sum())

        strength = min(STRENGTHS, key=heldout_error) if 0 < apart.sum() < len(x) else LAYER_RIDGE
        system = RowSystem.of(x, towards, strength=strength, bias=self.layer.use_bias)
        new, bounds = system.solve(wanted - rest), self.wanted.bounds
        if bounds is None:
            return new

        def again(weights: np.ndarray, bias: np.ndarray) -> Solution:
            return system.solve(_free_outside(wanted, x @ weights + bias + rest, bounds) - rest)

        return _in_rounds(new, again)

    def _rectified(
        self,
        rows: _Rows,
        system: RidgeSystem | SparseSystem,
        bounds: tuple[float, float],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fits what a ReLU lets through.

        Where the teacher is below the ReLU, whatever is below will do: there the target is set to
        what the fit makes, as far as that is below, and the system is solved again. Each round
        brings the error behind the ReLU down; going on in the direction of the last step, as in
        Nesterov's method, takes fewer of them.
        """

        def again(weights: np.ndarray, bias: np.ndarray) -> Solution:
            fresh = system.equations.without_targets()
            for _, x, wanted, rest in self._drawn(rows):
                made = x @ weights + bias + (0 if rest is None else rest)
                target = _free_outside(wanted, made, bounds)
                fresh.add_targets(x, target if rest is None else target - rest)
            return system.solve(fresh)

        return _in_rounds(system.solve(), again)

    def _set(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        self.layer.set_weights([kernel, *([bias] if self.layer.use_bias else [])])

    def _equations(
        self, rows: _Rows, size: tuple[int, int]
    ) -> tuple[NormalEquations, NormalEquations]:
        """The problem in two parts, the second of held-out examples."""
        fit = NormalEquations.empty(*size)
        held = NormalEquations.empty(*size)
        for piece, x, wanted, rest in self._drawn(rows):
            apart = piece % _HELDOUT == _HELDOUT - 1 and fit.shifted
            part = held if apart else fit
            if apart and not held.shifted:
                held.shift_as(fit)
            part.add(x, wanted if rest is None else wanted - rest)
        return fit, held

    def _every(self) -> _Rows:
        return _Rows(None, self._share(None))

    def _drawn(
        self, rows: _Rows
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray | None]]:
        """Piece by piece what drawn places see, what is wanted there and what is added anyway.

        Every call with the same share draws the same places.
        """
        rng = np.random.default_rng([self.seed[0], _PLACES, *self.seed[1:]])
        shape = self.wanted.parts[0][0].shape
        for piece, batch in self._pieces():
            count = batch.stop - batch.start
            places = np.nonzero(rng.random((count, *shape[1:-1])) < rows.share)
            x = self.x[batch] if rows.channels is None else self.x[batch][..., rows.channels]
            yield piece, patches_at(self.layer, x, places), *self.wanted.at(batch, places)

    def _pieces(self) -> Iterator[tuple[int, slice]]:
        """Numbers pieces of all examples; one that batches cut comes in parts."""
        arrays = [values for values, _ in self.wanted.parts] + self.wanted.rest
        step = max(1, len(self.x) // _PIECES)
        for batch in batch_slices(self.x, *arrays):
            start = batch.start
            while start < batch.stop:
                stop = min(batch.stop, (start // step + 1) * step)
                yield start // step, slice(start, stop)
                start = stop

    def _share(self, channels: int | None) -> float:
        """Which share of the places is enough."""
        features = int(np.prod(self.layer.kernel.shape[:-2]))
        if not is_depthwise(self.layer):
            features *= channels or self.layer.kernel.shape[-2]
        places = math.prod(self.x.shape[:-1]) / math.prod(getattr(self.layer, "strides", (1,)))
        return min(1.0, max(_MIN_ROWS, _ROWS_PER_FEATURE * features) / places)


def _in_rounds(new: Solution, again: Callable[[np.ndarray, np.ndarray], Solution]) -> Solution:
    """Solves again from some way on in the direction of the last step, a few times."""
    before = new
    for number in range(_RECTIFIED_ROUNDS):
        ahead = number / (number + 3)
        weights, bias = (n + ahead * (n - b) for n, b in zip(new, before, strict=True))
        before, new = new, again(weights.astype("float32"), bias.astype("float32"))
    return new


def _free_outside(wanted: np.ndarray, made: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    low, high = bounds
    target = np.where(wanted <= low, np.minimum(made, low), wanted)
    return np.where(wanted >= high, np.maximum(made, high), target) if high < math.inf else target


def _fit_depthwise(
    rows: Iterator[tuple[np.ndarray, np.ndarray]], kernel: np.ndarray, *, bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One small problem per channel: its own kernel places, its own target."""
    places, channels = int(np.prod(kernel.shape[:2])), kernel.shape[2]
    problems = [NormalEquations.empty(places, 1) for _ in range(channels)]
    for x, y in rows:
        patches = x.reshape(len(x), places, channels)
        for channel, problem in enumerate(problems):
            problem.add(patches[:, :, channel], y[:, channel : channel + 1])
    towards = kernel.reshape(places, channels)
    solved = [
        ridge(problem, towards[:, c : c + 1], strength=LAYER_RIDGE, bias=bias)
        for c, problem in enumerate(problems)
    ]
    return (
        np.concatenate([weights for weights, _ in solved], axis=1),
        np.concatenate([offset for _, offset in solved]),
    )
