import keras
import numpy as np
import pytest
from keras import layers as kl

from kgraft.students import layer_fit
from kgraft.students.layer_fit import LayerFit, Wanted


@pytest.mark.parametrize("bounds", [None, (0.0, np.inf)], ids=["all", "relu"])
def test_places_of_the_candidates_are_those_the_kept_channels_are_solved_on(monkeypatch, bounds):
    """Fewer channels need fewer places; targets set anew have to belong to the sums that stay."""
    monkeypatch.setattr(layer_fit, "_MIN_ROWS", 100)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(16, 8, 8, 40)).astype("float32")
    keras.utils.set_random_seed(3)
    layer = kl.Conv2D(5, 1)
    layer.build(x.shape)
    right = np.zeros((1, 1, 40, 5), "float32")
    right[:, :, [4, 17, 30]] = rng.normal(size=(3, 5))
    layer.set_weights([right, np.full(5, 0.5, "float32")])
    wanted = Wanted([(np.asarray(layer(x)), np.arange(5))], [], bounds)
    layer.set_weights([np.ones_like(right), np.zeros(5, "float32")])
    fit = LayerFit(layer, x, wanted, seed=(1,))
    assert fit._share(40) < 1
    np.testing.assert_array_equal(fit.solve_reduced(3), [4, 17, 30])
    error = np.abs(np.asarray(layer.kernel) - right).max()
    assert error < 0.05 * np.abs(right).max()


@pytest.mark.parametrize("count", [16, 687, 1600, 2047])
def test_a_quarter_of_the_examples_is_held_out(count):
    """However batches cut them: the strength of the ridge is chosen by these."""
    x = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
    layer = kl.Dense(2)
    layer.build(x.shape)
    fit = LayerFit(layer, x, Wanted([(x @ np.ones((3, 2), "f4"), np.arange(2))], [], None), (1,))
    pieces = list(fit._pieces())
    np.testing.assert_array_equal(
        np.concatenate([np.arange(count)[batch] for _, batch in pieces]), np.arange(count)
    )
    learned, held = fit._equations(fit._every(), (3, 2))
    assert learned.rows + held.rows == count
    assert 0.2 < held.rows / count < 0.3
