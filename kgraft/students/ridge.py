"""Ridge least squares on rows gathered batch by batch."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class NormalEquations:
    """Sums of a least-squares problem `x @ weights + bias = y`, gathered batch by batch.

    The sums are float64, so that the order of batches does not matter beyond rounding.
    """

    xx: np.ndarray
    xy: np.ndarray
    x_sum: np.ndarray
    y_sum: np.ndarray
    rows: int = 0

    @classmethod
    def empty(cls, features: int, targets: int) -> "NormalEquations":
        """Returns the sums over no rows."""
        return cls(
            np.zeros((features, features)),
            np.zeros((features, targets)),
            np.zeros(features),
            np.zeros(targets),
        )

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Adds rows: `x` is `[rows, features]`, `y` is `[rows, targets]`."""
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.x_sum += x.sum(axis=0, dtype="float64")
        self.y_sum += y.sum(axis=0, dtype="float64")
        self.rows += len(x)


def ridge(
    equations: NormalEquations, towards: np.ndarray, *, strength: float, bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Solves least squares with a pull towards given weights.

    Minimises `|x w + b - y|^2 + strength * trace(x'x) / features * |w - towards|^2`.

    Args:
        equations: the sums over all rows.
        towards: weights pulled towards, `[features, targets]`.
        strength: relative strength of the pull, above 0.
        bias: whether a bias is fitted too (it is not pulled).

    Returns:
        Weights `[features, targets]` and bias `[targets]` (zeros without one).
    """
    xx, xy = equations.xx, equations.xy
    if bias:
        mean_x = equations.x_sum / equations.rows
        mean_y = equations.y_sum / equations.rows
        xx = xx - np.outer(mean_x, equations.x_sum)
        xy = xy - np.outer(mean_x, equations.y_sum)
    features = len(xx)
    pull = strength * np.trace(xx) / features + 1e-12
    system = xx + pull * np.eye(features)
    weights = towards + np.linalg.solve(system, xy - xx @ towards)
    offset = mean_y - mean_x @ weights if bias else np.zeros(xy.shape[1])
    return weights, offset


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
