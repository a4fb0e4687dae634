"""Mixed views: what they are made of, and what they depend on."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kgraft.data import add_mixed_views


def _views(n=6, size=(9, 7, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, [n, *size], np.uint8)


def test_none_gives_the_views_back():
    views = _views()
    assert add_mixed_views(views, 0, seed=0) is views


def test_views_come_first_and_the_same_seed_gives_the_same():
    views = _views()
    made = add_mixed_views(views, 20, seed=3)
    assert made.shape == (26, 9, 7, 3)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made[:6], views)
    np.testing.assert_array_equal(made, add_mixed_views(views, 20, seed=3))
    assert (made[6:] != add_mixed_views(views, 20, seed=4)[6:]).any()


def test_more_leave_those_there_are_as_they_are():
    views = _views()
    more = add_mixed_views(views, 600, seed=3)
    np.testing.assert_array_equal(add_mixed_views(views, 20, seed=3), more[:26])


def _is_blend(mixed, one, two):
    """Whether one share of brightness explains every pixel."""
    one, two = one.astype(float), two.astype(float)
    direction = two - one
    share = ((mixed - one) * direction).sum() / max((direction**2).sum(), 1e-9)
    return 0.19 < share < 0.81 and np.abs(one + share * direction - mixed).max() < 1.5


def _is_paste(mixed, one, two):
    """Whether a full rectangle is the second's and all else the first's."""
    other = (mixed != one).any(-1)
    if not other.any():
        return bool((mixed == one).all())
    rows, columns = np.flatnonzero(other.any(1)), np.flatnonzero(other.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool((mixed[box] == two[box]).all())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_each_is_a_blend_or_a_paste_of_two_views(seed):
    views = _views(3, seed=seed)
    kinds = []
    for mixed in add_mixed_views(views, 12, seed=seed)[3:]:
        pairs = [(a, b) for a in views for b in views]
        blend = any(_is_blend(mixed, a, b) for a, b in pairs)
        paste = any(_is_paste(mixed, a, b) for a, b in pairs)
        assert blend or paste
        kinds.append(paste)
    assert len(kinds) == 12


def test_about_half_are_pasted():
    views = _views(40)
    made = add_mixed_views(views, 200, seed=0)[40:]
    flat = views.reshape(40, -1)
    pasted = sum(((flat == m.reshape(-1)).mean(1) > 0.05).any() for m in made)
    assert 70 < pasted < 130


def test_one_view_mixes_with_itself():
    views = _views(1)
    made = add_mixed_views(views, 4, seed=0)
    for view in made:
        np.testing.assert_array_equal(view, views[0])
