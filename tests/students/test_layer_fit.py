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
