"""Backward elimination on least squares."""

import itertools

import numpy as np
import pytest

from kgraft.students.ridge import NormalEquations, ridge
from kgraft.students.selection import least_missed


def problem(seed=0, places=2, channels=5, rows=200):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(places * channels, places * channels))
    x = rng.normal(size=(rows, places * channels)) @ mix
    y = x @ rng.normal(size=(places * channels, 3)) + rng.normal(size=(rows, 3))
    equations = NormalEquations.empty(places * channels, 3)
    equations.add(x, y)
    return equations, x, y


def features_of(kept, places, channels):
    return np.arange(places * channels).reshape(places, channels)[:, kept].ravel()


def error_without(equations, x, y, features):
    part = equations.subset(features)
    weights, bias = ridge(part, np.zeros_like(part.xy), strength=1e-9, bias=True)
    return np.square(x[:, features] @ weights + bias - y).sum()


@pytest.mark.parametrize("seed", range(4))
def test_the_channel_that_goes_is_the_one_least_missed(seed):
    equations, x, y = problem(seed)
    kept = least_missed(equations, 5, keep=4, strength=1e-9, bias=True)
    errors = {
        left: error_without(equations, x, y, features_of(list(left), 2, 5))
        for left in itertools.combinations(range(5), 4)
    }
    assert tuple(kept) == min(errors, key=errors.__getitem__)


def test_each_round_is_solved_anew():
    """Of two channels that say the same, one is free to go, the second is not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    x[:, 1] = x[:, 0] + 1e-3 * rng.normal(size=300)
    y = 5 * x[:, :1] + x[:, 2:3] + 0.1 * x[:, 3:]
    equations = NormalEquations.empty(4, 1)
    equations.add(x, y)
    kept = least_missed(equations, 4, keep=2, strength=1e-6, bias=True)
    assert kept[0] in (0, 1)
    assert kept[1] == 2


def test_a_subset_is_the_problem_of_those_features():
    equations, x, y = problem()
    features = np.array([0, 3, 7])
    wanted = NormalEquations.empty(3, 3)
    wanted.add(x[:, features], y)
    for bias in (True, False):
        got = ridge(equations.subset(features), np.zeros((3, 3)), strength=1e-3, bias=bias)
        want = ridge(wanted, np.zeros((3, 3)), strength=1e-3, bias=bias)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


def test_nothing_goes_where_all_may_stay():
    equations, *_ = problem()
    np.testing.assert_array_equal(
        least_missed(equations, 5, keep=5, strength=1e-3, bias=False), np.arange(5)
    )
