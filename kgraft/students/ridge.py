"""Ridge least squares on rows gathered batch by batch."""

import dataclasses

import numpy as np


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
        if not self.rows:
            self.x_shift = x.mean(axis=0, dtype="float64").astype(x.dtype)
            self.y_shift = y.mean(axis=0, dtype="float64").astype(y.dtype)
        x, y = x - self.x_shift, y - self.y_shift
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.x_sum += x.sum(axis=0, dtype="float64")
        self.y_sum += y.sum(axis=0, dtype="float64")
        self.rows += len(x)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the means of `x`, `[features]`, and of `y`, `[targets]`."""
        return self.x_shift + self.x_sum / self.rows, self.y_shift + self.y_sum / self.rows

    def products(self, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns `x'x` and `x'y`, of the rows as they are or less their means."""
        apart = np.outer(self.x_sum, self.x_sum), np.outer(self.x_sum, self.y_sum)
        xx, xy = (s - a / self.rows for s, a in zip((self.xx, self.xy), apart, strict=True))
        if not centred:
            mean_x, mean_y = self.means()
            xx = xx + self.rows * np.outer(mean_x, mean_x)
            xy = xy + self.rows * np.outer(mean_x, mean_y)
        return xx, xy


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
    xx, xy = equations.products(centred=bias)
    features = len(xx)
    pull = strength * np.trace(xx) / features + 1e-12
    system = xx + pull * np.eye(features)
    weights = towards + np.linalg.solve(system, xy - xx @ towards)
    if not bias:
        return weights, np.zeros(xy.shape[1])
    mean_x, mean_y = equations.means()
    return weights, mean_y - mean_x @ weights


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
