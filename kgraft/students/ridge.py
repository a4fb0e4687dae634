"""Ridge least squares on rows gathered batch by batch."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg

# Features beyond which `x'x` is too large: 170 MB in float64 at this many, of which there are some
# seven while a problem is solved.
MOST_SQUARED = 4608

# Gives the solution of a system for some right-hand sides, `[features, targets]` to the same.
Solver = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass
class NormalEquations:
    """Sums of a least-squares problem `x @ weights + bias = y`, gathered batch by batch.

    Rows are shifted by the means of the first batch before they are multiplied, so that features
    that hardly vary keep their digits; the sums are float64, so that the order of batches does not
    matter beyond rounding.
    """

    xx: np.ndarray
    xy: np.ndarray
    x_sum: np.ndarray
    y_sum: np.ndarray
    x_shift: np.ndarray
    y_shift: np.ndarray
    rows: int = 0
    shifted: bool = False

    @classmethod
    def empty(cls, features: int, targets: int) -> "NormalEquations":
        """Returns the sums over no rows."""
        return cls(
            np.zeros((features, features)),
            np.zeros((features, targets)),
            np.zeros(features),
            np.zeros(targets),
            np.zeros(features),
            np.zeros(targets),
        )

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Adds rows: `x` is `[rows, features]`, `y` is `[rows, targets]`."""
        if not len(x):
            return
        if not self.shifted:
            self.shifted = True
            self.x_shift = x.mean(axis=0, dtype="float64").astype(x.dtype)
            self.y_shift = y.mean(axis=0, dtype="float64").astype(y.dtype)
        x, y = x - self.x_shift, y - self.y_shift
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.x_sum += x.sum(axis=0, dtype="float64")
        self.y_sum += y.sum(axis=0, dtype="float64")
        self.rows += len(x)

    def shift_as(self, other: "NormalEquations") -> None:
        """Shifts rows that will be added as another problem does."""
        self.x_shift, self.y_shift, self.shifted = other.x_shift, other.y_shift, True

    def plus(self, other: "NormalEquations") -> "NormalEquations":
        """Returns the sums over the rows of both.

        Args:
            other: sums that were shifted as these are, or over no rows.
        """
        if not self.rows or not other.rows:
            return self if self.rows else other
        ours, theirs = vars(self), vars(other)
        summed = ("xx", "xy", "x_sum", "y_sum", "rows")
        return dataclasses.replace(self, **{name: ours[name] + theirs[name] for name in summed})

    def without_targets(self) -> "NormalEquations":
        """Returns the same sums over `x`, for other targets of the same rows."""
        return dataclasses.replace(self, xy=np.zeros_like(self.xy), y_sum=np.zeros_like(self.y_sum))

    def add_targets(self, x: np.ndarray, y: np.ndarray) -> None:
        """Adds targets for rows whose `x` is among the sums already."""
        x, y = x - self.x_shift, y - self.y_shift
        self.xy += x.T @ y
        self.y_sum += y.sum(axis=0, dtype="float64")

    def subset(self, features: np.ndarray) -> "NormalEquations":
        """Returns the sums of the problem that has only these of its features."""
        return dataclasses.replace(
            self,
            xx=self.xx[np.ix_(features, features)],
            xy=self.xy[features],
            x_sum=self.x_sum[features],
            x_shift=self.x_shift[features],
        )

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the means of `x`, `[features]`, and of `y`, `[targets]`."""
        return self.x_shift + self.x_sum / self.rows, self.y_shift + self.y_sum / self.rows

    def products(self, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns `x'x` and `x'y`, of the rows as they are or less their means."""
        xx = self.xx - np.outer(self.x_sum, self.x_sum / self.rows)
        if not centred:
            mean_x, _ = self.means()
            xx += np.outer(self.rows * mean_x, mean_x)
        return xx, self.target_products(centred=centred)

    def target_products(self, *, centred: bool) -> np.ndarray:
        """Returns `x'y` as `products` does."""
        xy = self.xy - np.outer(self.x_sum, self.y_sum / self.rows)
        if not centred:
            mean_x, mean_y = self.means()
            xy += np.outer(self.rows * mean_x, mean_y)
        return xy


def ridge(
    equations: NormalEquations, towards: np.ndarray, *, strength: float, bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Solves least squares with a pull towards given weights.

    Minimises `|x w + b - y|^2 + strength * trace(x'x) / features * |w - towards|^2`, with `x` less
    its mean in the trace where a bias is fitted.

    Args:
        equations: the sums over all rows.
        towards: weights pulled towards, `[features, targets]`.
        strength: relative strength of the pull, above 0.
        bias: whether a bias is fitted too (it is not pulled).

    Returns:
        Weights `[features, targets]` and bias `[targets]` (zeros without one).
    """
    system = RidgeSystem.of(equations, towards, strength=strength, bias=bias)
    return system.solve()


def ridge_solver(xx: np.ndarray, strength: float) -> Solver:
    """Factorises the system of a ridge problem, `xx + strength * trace(xx) / features * identity`.

    Args:
        xx: `x'x`, `[features, features]`; only its lower half is read where that is enough.
        strength: relative strength of the pull, above 0.

    Returns:
        What solves it.
    """
    system = xx.copy()
    system[np.diag_indices(len(xx))] += strength * np.trace(xx) / len(xx) + 1e-12
    try:
        factor = scipy.linalg.cho_factor(system, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        # Sums of float32 products may be a rounding error short of positive definite.
        factor = scipy.linalg.lu_factor(system, check_finite=False)
        return functools.partial(scipy.linalg.lu_solve, factor, check_finite=False)
    return functools.partial(scipy.linalg.cho_solve, factor, check_finite=False)


def bias_of(equations: NormalEquations, weights: np.ndarray, bias: bool) -> np.ndarray:
    """Returns the bias that goes best with weights, `[targets]`; zeros where there is none."""
    if not bias:
        return np.zeros(weights.shape[1])
    mean_x, mean_y = equations.means()
    return mean_y - mean_x @ weights


@dataclasses.dataclass(frozen=True)
class RidgeSystem:
    """A ridge problem solved more than once, for several targets of the same rows.

    Attributes:
        equations: the sums over all rows.
        towards: weights pulled towards, `[features, targets]`.
        bias: whether a bias is fitted.
        solver: of the system.
        xx: `x'x`, `[features, features]`.
        pull: strength of the pull.
    """

    equations: NormalEquations
    towards: np.ndarray
    bias: bool
    solver: Solver
    xx: np.ndarray
    pull: float

    @classmethod
    def of(
        cls, equations: NormalEquations, towards: np.ndarray, *, strength: float, bias: bool
    ) -> "RidgeSystem":
        """Sets up the problem that `ridge` solves."""
        xx, _ = equations.products(centred=bias)
        pull = strength * float(np.trace(xx)) / len(xx)
        return cls(equations, towards, bias, ridge_solver(xx, strength), xx, pull)

    def solve(self, equations: NormalEquations | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns weights and bias as `ridge` does.

        Args:
            equations: the same rows with other targets; None for the system's own.
        """
        equations = equations or self.equations
        xy = equations.target_products(centred=self.bias)
        weights = self.towards + self.solver(xy - self.xx @ self.towards)
        return weights, bias_of(equations, weights, self.bias)

    def right_side(self, equations: NormalEquations | None = None) -> np.ndarray:
        """Returns what the normal matrix times the weights is, `[features, targets]`.

        Args:
            equations: the same rows with other targets; None for the system's own.
        """
        equations = equations or self.equations
        return equations.target_products(centred=self.bias) + self.pull * self.towards


@dataclasses.dataclass(frozen=True)
class RowSystem:
    """A ridge problem of fewer rows than features, solved by a system of the rows.

    It gives the weights that `RidgeSystem` does, of which `x'x` would not fit into memory.

    Attributes:
        x: the rows less their means where a bias is fitted, `[rows, features]`.
        mean_x: these means, or zeros.
        towards: weights pulled towards, `[features, targets]`.
        bias: whether a bias is fitted.
        solver: of the system.
    """

    x: np.ndarray
    mean_x: np.ndarray
    towards: np.ndarray
    bias: bool
    solver: Solver

    @classmethod
    def of(cls, x: np.ndarray, towards: np.ndarray, *, strength: float, bias: bool) -> "RowSystem":
        """Sets up the problem that `ridge` solves, of rows `x` `[rows, features]`."""
        mean_x = x.mean(axis=0, dtype="float64") if bias else np.zeros(x.shape[1])
        x = x - mean_x.astype(x.dtype)
        gram = (x @ x.T).astype("float64")
        # The pull is weighed by features, the solver weighs by what it is given: rows.
        solver = ridge_solver(gram, strength * len(gram) / x.shape[1])
        return cls(x, mean_x, towards, bias, solver)

    def solve(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns weights and bias as `ridge` does, for targets `[rows, targets]`."""
        mean_y = y.mean(axis=0, dtype="float64") if self.bias else np.zeros(y.shape[1])
        left = y - mean_y - self.x @ self.towards
        weights = self.towards + self.x.T @ self.solver(left)
        return weights, mean_y - self.mean_x @ weights


def best_strength(
    fit: NormalEquations,
    held: NormalEquations,
    towards: np.ndarray,
    *,
    strengths: Sequence[float],
    bias: bool,
) -> float:
    """Chooses the strength of a ridge by rows that are held out.

    Args:
        fit: the rows to solve from.
        held: the rows to choose by.
        towards: weights pulled towards, `[features, targets]`.
        strengths: what to choose among.
        bias: whether a bias is fitted.

    Returns:
        The strength of the least squared error on the held-out rows.
    """
    xx, xy = held.products(centred=False)
    mean_x, mean_y = held.means()

    def error(strength: float) -> float:
        """Squared error on held-out rows, up to a constant."""
        weights, offset = ridge(fit, towards, strength=strength, bias=bias)
        squared = np.sum(weights * (xx @ weights - 2 * xy))
        shift = 2 * np.sum(offset * (mean_x @ weights - mean_y)) + np.sum(offset * offset)
        return float(squared + held.rows * shift)

    return min(strengths, key=error)


def fit_adapter(features: np.ndarray, targets: np.ndarray, *, strength: float) -> np.ndarray:
    """Finds the bias-free 1x1 map from student to teacher features.

    Args:
        features: `[examples, ..., in_channels]`.
        targets: `[examples, ..., out_channels]`, same places.
        strength: relative strength of the ridge (towards zero).

    Returns:
        `[in_channels, out_channels]`.
    """
    x = features.reshape(-1, features.shape[-1])
    y = targets.reshape(-1, targets.shape[-1])
    equations = NormalEquations.empty(x.shape[1], y.shape[1])
    for start in range(0, len(x), 65536):
        equations.add(x[start : start + 65536], y[start : start + 65536])
    zero = np.zeros(equations.xy.shape)
    return ridge(equations, zero, strength=strength, bias=False)[0].astype("float32")
