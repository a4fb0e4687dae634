"""Least squares with zeros, against numpy's least squares on what is left."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgraft.students import sparse
from kgraft.students.ridge import NormalEquations, RidgeSystem
from kgraft.students.sparse import SparseSystem, Sparsity

SHARES = st.floats(0.0, 0.95)


def rows_of(seed, features, targets, rows=200):
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 1.0, [rows, features]) @ rng.normal(size=[features, features])
    return x, rng.normal(size=[rows, targets]), rng.normal(size=[features, targets])


def equations_of(x, y):
    equations = NormalEquations.empty(x.shape[1], y.shape[1])
    equations.add(x, y)
    return equations


def system_of(x, y, towards, *, strength=1e-2, bias=True):
    return RidgeSystem.of(equations_of(x, y), towards, strength=strength, bias=bias)


def by_numpy(x, y, towards, support, *, strength, bias):
    """Each target by itself, from the features that it has left."""
    x_c, y_c = x - bias * x.mean(axis=0), y - bias * y.mean(axis=0)
    root = np.sqrt(strength * np.square(x_c).sum() / x.shape[1])
    weights = np.zeros_like(towards)
    for target in range(y.shape[1]):
        left = np.flatnonzero(support[:, target])
        rows = np.concatenate([x_c[:, left], root * np.eye(len(left))])
        wanted = np.concatenate([y_c[:, target], root * towards[left, target]])
        weights[left, target] = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return weights, bias * (y.mean(axis=0) - x.mean(axis=0) @ weights)


@given(
    seed=st.integers(0, 2**16),
    features=st.integers(1, 8),
    targets=st.integers(1, 4),
    share=SHARES,
    strength=st.sampled_from([1e-3, 1e-1]),
    bias=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_what_is_left_is_least_squares(seed, features, targets, share, strength, bias):
    x, y, towards = rows_of(seed, features, targets)
    system = system_of(x, y, towards, strength=strength, bias=bias)
    made = SparseSystem.of(system, Sparsity(share), features)
    assert np.sum(~made.support) == min(round(share * towards.size), towards.size - 1)
    others = np.random.default_rng(seed + 1).normal(size=y.shape)
    for targets_now, got in ((y, made.solve()), (others, made.solve(equations_of(x, others)))):
        settled = {"strength": strength, "bias": bias}
        wanted = by_numpy(x, targets_now, towards, made.support, **settled)
        assert not got[0][~made.support].any()
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def best_of_all(x, y, towards, *, left):
    """The least error of all choices of `left` features for the one target."""
    errors = []
    for chosen in itertools.combinations(range(len(towards)), left):
        support = np.zeros(towards.shape, bool)
        support[list(chosen)] = True
        weights, _ = by_numpy(x, y, towards, support, strength=1e-6, bias=False)
        errors.append(np.square(x @ weights - y).sum())
    return min(errors)


def error_of(made, x, y):
    weights, bias = made.solve()
    return np.square(x @ weights + bias - y).sum()


def test_few_choices_could_be_better():
    """Over problems of inputs that depend on each other, against the best of all choices."""
    ours, magnitude = [], []
    for seed in range(20):
        x, _, towards = rows_of(seed, 8, 1)
        y = x @ towards
        system = system_of(x, y, towards, strength=1e-6, bias=False)
        scale = best_of_all(x, y, towards, left=4)
        ours.append(error_of(SparseSystem.of(system, Sparsity(0.5), 8), x, y) / scale)
        support = np.abs(towards) >= np.sort(np.abs(towards), axis=0)[4]
        weights, _ = by_numpy(x, y, towards, support, strength=1e-6, bias=False)
        magnitude.append(np.square(x @ weights - y).sum() / scale)
    assert np.median(ours) < 1.5
    assert np.mean(np.log(ours)) < 0.75 * np.mean(np.log(magnitude))


def test_what_turns_out_to_be_missed_comes_back(monkeypatch):
    x, _, towards = rows_of(5, 24, 16)
    y = x @ towards
    system = system_of(x, y, towards, strength=1e-3, bias=False)
    exchanged = error_of(SparseSystem.of(system, Sparsity(0.8), 24), x, y)
    monkeypatch.setattr(sparse, "_EXCHANGES", 0)
    assert exchanged < error_of(SparseSystem.of(system, Sparsity(0.8), 24), x, y)


@pytest.mark.parametrize("channels", [3, 4, 6, 8])
def test_two_of_four_inputs_go(channels):
    x, y, towards = rows_of(1, 2 * channels, 3)
    made = SparseSystem.of(system_of(x, y, towards), Sparsity(0.5, "2:4"), channels)
    for place in made.support.reshape(2, channels, 3):
        for start in range(0, channels, 4):
            group = place[start : start + 4]
            # Of a short group as many stay.
            assert (group.sum(axis=0) == min(2, len(group))).all()


def test_blocks_of_inputs_go_together():
    x, y, towards = rows_of(1, 10, 4)
    made = SparseSystem.of(system_of(x, y, towards), Sparsity(0.5, "block"), 10)
    groups = [made.support[start : start + 4] for start in (0, 4, 8)]
    assert all((group == group[0]).all() for group in groups)
    assert sum(int(np.sum(group[0])) for group in groups) == 6


def test_inputs_that_never_change_do_no_harm():
    x, y, towards = rows_of(2, 4, 2)
    x[:, 1] = 3.0
    made = SparseSystem.of(system_of(x, y, towards), Sparsity(0.25), 4)
    weights, bias = made.solve()
    assert not made.support[1].any()
    assert np.isfinite(weights).all() and np.isfinite(bias).all()


def test_nothing_to_fit_is_solved():
    x = np.ones([20, 3])
    system = system_of(x, np.full([20, 2], 5.0), np.ones([3, 2]))
    weights, bias = SparseSystem.of(system, Sparsity(0.5), 3).solve()
    np.testing.assert_allclose(x @ weights + bias, 5.0, rtol=1e-9)
