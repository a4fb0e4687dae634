"""Least squares with most weights zero: which of them stay, and what those become."""

import dataclasses

import numpy as np

from kgraft.students.ridge import NormalEquations, RidgeSystem, bias_of

# Weights go in so many rounds; after each those that stay are fitted anew, so that the next round
# knows what has become of them.
_ROUNDS = 12
# Rounds afterwards, in which weights that turned out to be missed change places with others.
_EXCHANGES = 6
# Steps of conjugate gradients in a round, and after the last one.
_STEPS = 25
_LAST_STEPS = 75
# Share of the first residual's square that is as good as none.
_EXACT = 1e-14
# Weights side by side, from inputs of one output, that share a fate.
_GROUP = 4


@dataclasses.dataclass(frozen=True)
class Sparsity:
    """How much of a layer's kernel is zero, and in which pattern.

    Attributes:
        share: of the weights that are zero, 0..1.
        pattern: `unstructured`, `2:4` (two of four inputs side by side, whatever the share) or
            `block` (four inputs side by side at once).
    """

    share: float
    pattern: str = "unstructured"


@dataclasses.dataclass(frozen=True)
class SparseSystem:
    """A ridge problem solved with zeros in fixed places; it has the interface of `RidgeSystem`.

    Attributes:
        system: the problem without zeros.
        matrix: its normal matrix, `[features, features]`.
        support: the weights that are not zero, `[features, targets]`.
        start: weights that are near the solution, `[features, targets]`.
    """

    system: RidgeSystem
    matrix: np.ndarray
    support: np.ndarray
    start: np.ndarray

    @property
    def equations(self) -> NormalEquations:
        """The sums over all rows."""
        return self.system.equations

    @classmethod
    def of(cls, system: RidgeSystem, sparsity: Sparsity, channels: int) -> "SparseSystem":
        """Chooses which weights stay.

        Round by round those go whose square, times what their input's square sums to, is least:
        what the targets would miss if nothing made up for them (the score of Sun et al., "A Simple
        and Effective Pruning Approach for Large Language Models", ICLR 2024). Then the others are
        fitted anew, which makes up for them. A weight that is zero counts as what a step of its
        gradient would make of it, so that one that turns out to be missed comes back (Foucart,
        "Hard Thresholding Pursuit", SIAM Journal on Numerical Analysis 2011).

        Args:
            system: the problem.
            sparsity: how much goes.
            channels: inputs at each place of the kernel: features are places times channels.

        Returns:
            The problem with zeros.
        """
        matrix = system.xx.copy()
        matrix[np.diag_indices(len(matrix))] += system.pull + 1e-12
        right, energy = system.right_side(), np.diag(matrix)[:, None]
        weights, _ = system.solve()
        support = np.ones(weights.shape, bool)
        rounds = 1 if sparsity.pattern == "2:4" else _ROUNDS
        for number in range(1, rounds + _EXCHANGES + 1):
            share = sparsity.share * min(1.0, number / rounds)
            ahead = weights + (right - matrix @ weights) / energy
            before, wanted = support, dataclasses.replace(sparsity, share=share)
            support = _largest(np.square(ahead) * energy, wanted, channels)
            if number > rounds and np.array_equal(support, before):
                break
            weights = _solve_on(support, matrix, right, weights, _STEPS)
        weights = _solve_on(support, matrix, right, weights, _LAST_STEPS)
        return cls(system, matrix, support, weights)

    def solve(self, equations: NormalEquations | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns weights, zero where they shall be, and bias.

        Args:
            equations: the same rows with other targets; None for the system's own.
        """
        weights = self.start
        if equations is not None:
            right = self.system.right_side(equations)
            weights = _solve_on(self.support, self.matrix, right, weights, _STEPS)
        return weights, bias_of(equations or self.equations, weights, self.system.bias)


def _largest(scores: np.ndarray, sparsity: Sparsity, channels: int) -> np.ndarray:
    """Which weights stay, those of the largest scores: `[features, targets]`."""
    if sparsity.pattern == "unstructured":
        return _all_but(scores, round(sparsity.share * scores.size))
    features, targets = scores.shape
    inputs = scores.reshape(features // channels, channels, targets)
    # As in tensorflow-model-optimization, the last group of a kernel may be short.
    inputs = np.pad(inputs, [(0, 0), (0, -channels % _GROUP), (0, 0)], constant_values=-2.0)
    groups = inputs.reshape(len(inputs), -1, _GROUP, targets)
    if sparsity.pattern == "2:4":
        order = np.argsort(np.argsort(groups, axis=2), axis=2)
        stay = order >= _GROUP // 2
    else:
        whole = np.maximum(groups, 0).sum(axis=2, keepdims=True)
        stay = _all_but(whole, round(sparsity.share * whole.size)) & np.ones(groups.shape, bool)
    return stay.reshape(inputs.shape)[:, :channels].reshape(scores.shape)


def _all_but(scores: np.ndarray, count: int) -> np.ndarray:
    """All but the `count` lowest scores, and the highest in any case."""
    stay = np.ones(scores.size, bool)
    count = min(count, scores.size - 1)
    stay[np.argpartition(scores, count - 1, axis=None)[:count]] = False
    return stay.reshape(scores.shape)


def _solve_on(
    support: np.ndarray, matrix: np.ndarray, right: np.ndarray, start: np.ndarray, steps: int
) -> np.ndarray:
    """Solves `matrix @ weights = right`, target by target, for the weights on the support alone.

    Every target has zeros of its own and so a system of its own; conjugate gradients, with the
    diagonal as preconditioner, solve all of them by products with the one matrix.
    """
    scale = 1 / np.diag(matrix)[:, None]
    weights = start * support
    rest = (right - matrix @ weights) * support
    ahead = scale * rest
    size = np.sum(rest * ahead, axis=0)
    enough = _EXACT * size.max(initial=0.0)
    for _ in range(steps):
        if size.max(initial=0.0) <= enough:
            break
        across = (matrix @ ahead) * support
        length = _ratio(size, np.sum(ahead * across, axis=0))
        weights += length * ahead
        rest -= length * across
        scaled = scale * rest
        before, size = size, np.sum(rest * scaled, axis=0)
        ahead = scaled + _ratio(size, before) * ahead
    return weights


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`; 0 where a target is solved and both are next to nothing."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 1e-30)
