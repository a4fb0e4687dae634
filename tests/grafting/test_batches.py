"""Which views each step reads."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kgraft.grafting.batches import ordered_batches, shuffled_batches

_COUNTS = st.tuples(st.integers(1, 40), st.integers(1, 50), st.integers(0, 30), st.integers(1, 4))


@given(_COUNTS)
@settings(max_examples=60, deadline=None)
def test_every_epoch_visits_each_view_once(counts: tuple[int, int, int, int]) -> None:
    views, batch, steps, replicas = counts
    made = shuffled_batches(views, batch=batch, steps=steps, replicas=replicas, seed=(0, 1))
    assert made.rows.shape == made.weights.shape
    assert len(made) == steps
    assert made.rows.shape[1] % replicas == 0
    assert ((made.rows >= 0) & (made.rows < views)).all()
    np.testing.assert_allclose(made.weights.sum(1), np.ones(steps), rtol=1e-5)
    epoch = -(-views // min(batch, views))
    for first in range(0, steps - epoch + 1, epoch):
        part = made[first : first + epoch]
        assert sorted(part.rows[part.weights > 0]) == list(range(views))


@given(_COUNTS)
@settings(max_examples=30, deadline=None)
def test_ordered_batches_weigh_every_view_alike(counts: tuple[int, int, int, int]) -> None:
    views, batch, _, replicas = counts
    made = ordered_batches(views, batch=batch, replicas=replicas)
    assert list(made.rows[made.weights > 0]) == list(range(views))
    weights = made.weights[made.weights > 0]
    np.testing.assert_allclose(weights, np.full(views, 1 / views), rtol=1e-6)


def test_orders_depend_on_the_seed_and_the_epoch() -> None:
    def rows(seed: tuple[int, ...]) -> np.ndarray:
        return shuffled_batches(16, batch=16, steps=2, replicas=1, seed=seed).rows

    np.testing.assert_array_equal(rows((0, 1)), rows((0, 1)))
    assert (rows((0, 1)) != rows((0, 2))).any()
    assert (rows((0, 1))[0] != rows((0, 1))[1]).any()


def test_replicas_do_not_change_which_views_count() -> None:
    one = shuffled_batches(20, batch=7, steps=9, replicas=1, seed=(5,))
    two = shuffled_batches(20, batch=7, steps=9, replicas=2, seed=(5,))
    for a, b in zip(range(9), range(9), strict=True):
        np.testing.assert_array_equal(
            one.rows[a][one.weights[a] > 0], two.rows[b][two.weights[b] > 0]
        )
