"""Ridge least squares against numpy's least squares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgraft.students.ridge import (
    NormalEquations,
    RidgeSystem,
    RowSystem,
    best_strength,
    fit_adapter,
    ridge,
    ridge_solver,
)


def gathered(x, y, batch=13):
    equations = NormalEquations.empty(x.shape[1], y.shape[1])
    for start in range(0, len(x), batch):
        equations.add(x[start : start + batch], y[start : start + batch])
    return equations


def by_numpy(x, y, towards, *, strength, bias):
    """The same problem as one least squares with a row per pulled weight."""
    mean_x, mean_y = x.mean(axis=0) * bias, y.mean(axis=0) * bias
    x_c, y_c = x - mean_x, y - mean_y
    features = x.shape[1]
    root = np.sqrt(strength * np.square(x_c).sum() / features)
    rows = np.concatenate([x_c, root * np.eye(features)])
    wanted = np.concatenate([y_c, root * towards])
    weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return weights, mean_y - mean_x @ weights


def assert_numpys(got, x, y, towards, **how):
    for a, b in zip(got, by_numpy(x, y, towards, **how), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


@given(
    seed=st.integers(0, 2**16),
    features=st.integers(1, 6),
    targets=st.integers(1, 4),
    strength=st.sampled_from([1e-6, 1e-2, 1.0]),
    bias=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_ridge_is_numpys_least_squares(seed, features, targets, strength, bias):
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 1.0, [50, features])
    y = rng.normal(-2.0, 1.0, [50, targets])
    towards = rng.normal(size=[features, targets])
    got = ridge(gathered(x, y), towards, strength=strength, bias=bias)
    assert_numpys(got, x, y, towards, strength=strength, bias=bias)


@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(2, 12),
    features=st.integers(1, 40),
    strength=st.sampled_from([1e-3, 1e-2, 1.0]),
    bias=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_system_of_rows_gives_the_same(seed, rows, features, strength, bias):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(1.0, 1.0, [rows, features]), rng.normal(-2.0, 1.0, [rows, 3])
    towards = rng.normal(size=[features, 3])
    got = RowSystem.of(x, towards, strength=strength, bias=bias).solve(y)
    assert_numpys(got, x, y, towards, strength=strength, bias=bias)


def test_a_system_that_rounding_made_indefinite_is_solved_all_the_same():
    xx = np.diag([1.0, 2.0, -1e-6])
    solve = ridge_solver(xx, 1e-9)
    system = xx + 1e-9 * (3 - 1e-6) / 3 * np.eye(3)
    np.testing.assert_allclose(solve(system @ np.ones([3, 2])), np.ones([3, 2]), rtol=1e-5)


def test_without_strength_it_is_plain_least_squares():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, [80, 5]), rng.normal(size=[80, 2])
    weights, offset = ridge(gathered(x, y), np.zeros([5, 2]), strength=1e-12, bias=True)
    with_ones = np.concatenate([x, np.ones([80, 1])], axis=1)
    wanted = np.linalg.lstsq(with_ones, y, rcond=None)[0]
    np.testing.assert_allclose(np.vstack([weights, offset]), wanted, atol=1e-8)


def test_much_strength_keeps_the_weights():
    rng = np.random.default_rng(0)
    x, y, towards = rng.normal(size=[40, 3]), rng.normal(size=[40, 2]), rng.normal(size=[3, 2])
    weights, _ = ridge(gathered(x, y), towards, strength=1e9, bias=False)
    np.testing.assert_allclose(weights, towards, atol=1e-6)


def test_batches_do_not_change_the_solution():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(3, 1, [200, n]).astype("float32") for n in (4, 2))
    for bias in (False, True):
        one, two = (
            ridge(gathered(x, y, batch), np.zeros([4, 2]), strength=1e-3, bias=bias)
            for batch in (200, 7)
        )
        np.testing.assert_allclose(one[0], two[0], atol=1e-5)
        np.testing.assert_allclose(one[1], two[1], atol=1e-5)


def test_empty_batches_are_no_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=[20, 3]), rng.normal(size=[20, 2])
    equations = NormalEquations.empty(3, 2)
    for rows in (slice(0, 0), slice(0, 20), slice(0, 0)):
        equations.add(x[rows], y[rows])
    got = ridge(equations, np.zeros([3, 2]), strength=1e-3, bias=True)
    wanted = ridge(gathered(x, y), np.zeros([3, 2]), strength=1e-3, bias=True)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("spread", [0.0, 1e-4])
def test_features_that_hardly_vary_are_not_fitted_to_rounding(spread):
    rng = np.random.default_rng(0)
    x = (2.3 + spread * rng.normal(size=[20_000, 9])).astype("float32")
    weights = rng.normal(size=[9, 1]).astype("float32")
    y = x @ weights + 0.3
    fitted, offset = ridge(gathered(x, y, 777), weights, strength=1e-2, bias=True)
    np.testing.assert_allclose(fitted, weights, atol=0.01)
    np.testing.assert_allclose(x @ fitted + offset, y, atol=1e-5)


def test_adapter_is_the_best_map_of_the_last_axis():
    rng = np.random.default_rng(0)
    x = rng.normal(size=[6, 5, 4, 3]).astype("float32")
    y = rng.normal(size=[6, 5, 4, 7]).astype("float32")
    wanted = np.linalg.lstsq(x.reshape(-1, 3), y.reshape(-1, 7), rcond=None)[0]
    matrix = fit_adapter(x, y, strength=1e-9)
    assert matrix.dtype == "float32"
    np.testing.assert_allclose(matrix, wanted, atol=1e-5)


def rows_of(seed, count=60, features=5, targets=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 1.0, [count, features])
    return x, x @ rng.normal(size=(features, targets)) + rng.normal(size=(count, targets))


def test_sums_of_two_parts_are_the_sums_of_all():
    x, y = rows_of(0)
    whole, one, other = (NormalEquations.empty(5, 3) for _ in range(3))
    whole.add(x, y)
    one.add(x[:40], y[:40])
    other.shift_as(one)
    other.add(x[40:], y[40:])
    zeros = np.zeros((5, 3))
    for bias in (True, False):
        got = ridge(one.plus(other), zeros, strength=1e-2, bias=bias)
        for a, b in zip(got, ridge(whole, zeros, strength=1e-2, bias=bias), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
    nothing = NormalEquations.empty(5, 3)
    assert one.plus(nothing) is one
    assert nothing.plus(one) is one


@pytest.mark.parametrize("bias", [True, False])
def test_a_system_solves_as_ridge_does_with_other_targets_too(bias):
    x, y = rows_of(1)
    towards = np.random.default_rng(2).normal(size=(5, 3))
    equations = gathered(x, y)
    system = RidgeSystem.of(equations, towards, strength=1e-2, bias=bias)
    for targets in (y, np.square(y)):
        fresh = equations.without_targets()
        fresh.add_targets(x, targets)
        wanted = ridge(gathered(x, targets), towards, strength=1e-2, bias=bias)
        for a, b in zip(system.solve(fresh), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8)


@pytest.mark.parametrize("bias", [True, False])
def test_the_strength_is_the_best_on_held_out_rows(bias):
    strengths = (1e-4, 1e-2, 1.0, 100.0)
    towards = np.zeros((5, 3))
    chosen = set()
    for seed in range(6):
        x, y = rows_of(seed, count=4000 if seed % 2 else 12)
        y = y + 5 * np.random.default_rng(seed).normal(size=y.shape)
        cut = len(x) - 400 if seed % 2 else 7
        fit, held = gathered(x[:cut], y[:cut]), gathered(x[cut:], y[cut:])

        def error(strength, fit=fit, x=x[cut:], y=y[cut:]):
            weights, offset = ridge(fit, towards, strength=strength, bias=bias)
            return np.square(x @ weights + offset - y).sum()

        got = best_strength(fit, held, towards, strengths=strengths, bias=bias)
        assert got == min(strengths, key=error)
        chosen.add(got)
    assert len(chosen) > 1
