"""Which inputs of a layer it can do without: backward elimination on its least-squares problem."""

import numpy as np

from kgraft.students.ridge import NormalEquations, ridge_solver

# Most features a problem may have while it is reduced: its inverse is held and updated.
MOST_FEATURES = 3072
# Share of the channels still to go that go in one round.
_ROUND_SHARE = 0.125


def least_missed(
    equations: NormalEquations, channels: int, *, keep: int, strength: float, bias: bool
) -> np.ndarray:
    """Finds the channels a layer needs most, given that it is fitted anew without the others.

    Channels go in rounds, those first whose loss makes the ridge solution worst: with the inverse
    `G` of the system and the solution `W`, taking out a channel's features `b` costs
    `W[b]' inv(G[b, b]) W[b]`.

    Args:
        equations: the layer's problem; its features are places times channels, channels last.
        channels: number of channels.
        keep: how many stay.
        strength: relative strength of the ridge.
        bias: whether a bias is fitted.

    Returns:
        The channels that stay, ascending.
    """
    xx, xy = equations.products(centred=bias)
    inverse = ridge_solver(xx, strength)(np.eye(len(xx)))
    weights = inverse @ xy
    alive = np.arange(channels)
    while len(alive) > keep:
        features = np.arange(len(inverse)).reshape(-1, len(alive)).T
        costs = _costs(inverse, weights, features)
        going = max(1, int((len(alive) - keep) * _ROUND_SHARE))
        order = np.argsort(costs, kind="stable")
        gone, stay = np.sort(order[:going]), np.sort(order[going:])
        out = features[gone].T.ravel()
        left = features[stay].T.ravel()
        shares = np.linalg.solve(
            inverse[np.ix_(out, out)], np.concatenate([inverse[np.ix_(out, left)], weights[out]], 1)
        )
        across = inverse[np.ix_(left, out)]
        inverse = inverse[np.ix_(left, left)] - across @ shares[:, : len(left)]
        weights = weights[left] - across @ shares[:, len(left) :]
        alive = alive[stay]
    return alive


def _costs(inverse: np.ndarray, weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What each channel's going would cost: `features` is `[channels, places]`."""
    blocks = inverse[features[:, :, None], features[:, None, :]]
    parts = weights[features]
    return np.einsum("cpt,cpt->c", parts, np.linalg.solve(blocks, parts))
