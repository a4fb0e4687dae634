"""The view bank against the teacher itself."""

import keras
import numpy as np
import pytest
from grafting_cases import make_bank, make_chain, make_teacher, make_views

from kgraft.errors import KgraftError
from kgraft.grafting import ViewBank
from kgraft.graph import Chain

# One cached position 2 of 20 views: 20 * 8 * 8 * 8 floats.
_POSITION_2_MB = 20 * 8 * 8 * 8 * 4 / 2**20


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    return make_teacher(batchnorm=True)


@pytest.fixture(scope="module")
def chain(teacher: keras.Model) -> Chain:
    return make_chain(teacher)


def _at(teacher: keras.Model, name: str) -> np.ndarray:
    part = keras.Model(teacher.input, teacher.get_layer(name).output)
    return part(make_views() / np.float32(255), training=False).numpy()


def test_logits_are_the_teachers(teacher: keras.Model, chain: Chain) -> None:
    bank = make_bank(chain, batch=6)
    np.testing.assert_allclose(bank.logits, _at(teacher, "logits"), atol=1e-5)
    np.testing.assert_array_equal(bank.views, make_views())
    assert len(bank) == 20


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_activations_cached_or_recomputed(
    teacher: keras.Model, chain: Chain, cache_mb: float
) -> None:
    bank = make_bank(chain, cache_mb=cache_mb, positions=(1, 2), batch=6)
    assert bank.cached == ((0, 1, 2, 3) if cache_mb else (0, 3))
    np.testing.assert_allclose(bank.activation(0), make_views() / np.float32(255), rtol=1e-6)
    np.testing.assert_allclose(bank.activation(1), _at(teacher, "relu0"), atol=1e-5)
    np.testing.assert_allclose(bank.activation(2), _at(teacher, "relu1"), atol=1e-5)
    np.testing.assert_allclose(bank.activation(3), bank.logits)


def test_activation_of_some_rows(chain: Chain) -> None:
    rows = np.array([3, 17, 4])
    for bank in (make_bank(chain), make_bank(chain, cache_mb=1, positions=(2,))):
        np.testing.assert_allclose(
            bank.activation(2, rows), bank.activation(2)[rows], rtol=1e-5, atol=1e-6
        )


def test_the_cache_keeps_to_its_size_and_to_the_order_of_wishes(chain: Chain) -> None:
    assert make_bank(chain, cache_mb=_POSITION_2_MB, positions=(2, 1)).cached == (0, 2, 3)
    # Position 1 is smaller and leaves no room for position 2.
    assert make_bank(chain, cache_mb=_POSITION_2_MB, positions=(1, 2)).cached == (0, 1, 3)
    # What does not fit is passed over, not the end of it.
    assert make_bank(chain, cache_mb=0.8 * _POSITION_2_MB, positions=(2, 1)).cached == (0, 1, 3)


def test_nearest_is_the_last_cached_position_before(chain: Chain) -> None:
    bank = make_bank(chain, cache_mb=1, positions=(1,))
    assert [bank.nearest(p)[0] for p in range(4)] == [0, 1, 1, 3]
    np.testing.assert_array_equal(bank.nearest(0)[1], make_views())


def test_batches_bound_memory(chain: Chain) -> None:
    batches = list(make_bank(chain, batch=6).activation_batches(2))
    assert [len(batch) for batch in batches] == [6, 6, 6, 2]


def test_position_out_of_the_chain(chain: Chain) -> None:
    with pytest.raises(KgraftError, match=r"0\.\.3; got 4"):
        make_bank(chain).nearest(4)
    with pytest.raises(KgraftError, match=r"0\.\.3; got 9"):
        make_bank(chain, positions=(9,))


def test_tensor_of_a_position_that_is_not_cached(chain: Chain) -> None:
    with pytest.raises(KgraftError, match=r"position 1 is not cached; cached: \(0, 3\)"):
        make_bank(chain).tensor(1)


def test_views_must_be_images(chain: Chain) -> None:
    with pytest.raises(KgraftError, match=r"got \(0, 8, 8, 3\)"):
        ViewBank(make_views(0), chain=chain)
    with pytest.raises(KgraftError, match=r"got \(8, 8, 3\)"):
        ViewBank(make_views(1)[0], chain=chain)
