"""The view bank against the teacher itself."""

import collections
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from grafting_cases import (
    GraftFactory,
    make_bank,
    make_chain,
    make_teacher,
    make_views,
    read_weights,
)

from kgraft.config import TrainConfig
from kgraft.data.aligned import aligned_empty
from kgraft.errors import KgraftError
from kgraft.grafting import (
    ViewBank,
    graft_schedule,
    make_loss,
    make_strategy,
    positions_wanted,
    run_schedule,
)
from kgraft.graph import Chain, clone_graph, split_chain, trace_model
from kgraft.students.block import StudentBlock

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


def test_reading_a_position_that_is_not_cached(chain: Chain) -> None:
    with pytest.raises(KgraftError, match=r"position 1 is not cached; cached: \(0, 3\)"):
        make_bank(chain).rows_of(1)
    with pytest.raises(KgraftError, match=r"1 is not cached in memory; cached: \(0, 3\)"):
        make_bank(chain).tensor(1)
    with pytest.raises(KgraftError, match=r"1 is not cached in memory; cached: \(0, 2, 3\)"):
        make_bank(chain, cache_mb=_POSITION_2_MB, spill_mb=1, positions=(2, 1)).tensor(1)


def test_a_closed_bank_has_views_and_logits_only(chain: Chain) -> None:
    bank = make_bank(chain, cache_mb=1, positions=(1, 2))
    bank.close()
    assert bank.cached == () and len(bank) == 20 and bank.logits.shape == (20, 5)
    np.testing.assert_array_equal(bank.views, make_views())
    with pytest.raises(KgraftError, match="the view bank is closed"):
        bank.activation(1)


def test_views_must_be_images(chain: Chain) -> None:
    with pytest.raises(KgraftError, match=r"got \(0, 8, 8, 3\)"):
        ViewBank(make_views(0), chain=chain)
    with pytest.raises(KgraftError, match=r"got \(8, 8, 3\)"):
        ViewBank(make_views(1)[0], chain=chain)


def test_aligned_views_are_not_copied(chain: Chain) -> None:
    views = aligned_empty((20, 8, 8, 3), np.uint8)
    views[...] = make_views()
    bank = ViewBank(views, chain=chain)
    assert bank.views is views and np.shares_memory(np.asarray(bank.tensor(0)), views)


def test_what_does_not_fit_in_memory_goes_to_disk(chain: Chain, tmp_path: Path) -> None:
    options = {"positions": (2, 1), "batch": 6, "spill_folder": tmp_path}
    bank = make_bank(chain, cache_mb=_POSITION_2_MB, spill_mb=1, **options)
    assert bank.cached == (0, 1, 2, 3) and bank.spilled == (1,)
    disk = make_bank(chain, spill_mb=1, **options)
    assert disk.cached == (0, 1, 2, 3) and disk.spilled == (1, 2)
    # Beyond both it is recomputed.
    rest = make_bank(chain, spill_mb=_POSITION_2_MB, **options)
    assert rest.cached == (0, 2, 3) and rest.spilled == (2,)
    memory = make_bank(chain, cache_mb=1, **options)
    assert memory.spilled == ()
    rows = np.array([3, 17, 4])
    for position in (1, 2):
        expected = memory.activation(position)
        for other in (bank, disk):
            np.testing.assert_array_equal(other.activation(position), expected)
            np.testing.assert_array_equal(other.activation(position, rows), expected[rows])
            batches = list(other.activation_batches(position))
            np.testing.assert_allclose(np.concatenate(batches), expected, atol=1e-6)


def test_float16_rounds_what_is_kept_and_nothing_else(chain: Chain, tmp_path: Path) -> None:
    options = {"positions": (2, 1), "batch": 6, "cache_dtype": "float16"}
    exact = make_bank(chain, cache_mb=1, positions=(2, 1), batch=6)
    half = make_bank(chain, cache_mb=_POSITION_2_MB, **options)
    assert half.cached == exact.cached and half.tensor(1).dtype == tf.float16
    disk = make_bank(chain, spill_mb=_POSITION_2_MB, spill_folder=tmp_path, **options)
    assert disk.spilled == (1, 2)
    for bank in (half, disk):
        np.testing.assert_array_equal(bank.logits, exact.logits)
        for position in (1, 2):
            found, expected = bank.activation(position), exact.activation(position)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, expected.astype(np.float16))


def _loud_chain() -> Chain:
    """A teacher whose second cut is beyond the range of float16, its logits are not."""
    model = make_teacher()
    for name, scale in (("conv1", 1e6), ("logits", 1e-6)):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel * scale, bias])
    return make_chain(model)


def test_values_beyond_float16_stay_in_float32() -> None:
    chain = _loud_chain()
    options = {"positions": (2, 1), "batch": 6}
    exact = make_bank(chain, cache_mb=1, **options)
    bank = make_bank(chain, cache_mb=1, cache_dtype="float16", **options)
    assert bank.too_large == (2,)
    assert [bank.tensor(p).dtype for p in (1, 2)] == [tf.float16, tf.float32]
    np.testing.assert_array_equal(bank.activation(2), exact.activation(2))
    np.testing.assert_array_equal(bank.logits, exact.logits)
    # In float32 it does not fit any more and is recomputed, which is never infinite either.
    small = make_bank(chain, cache_mb=0.6 * _POSITION_2_MB, cache_dtype="float16", **options)
    assert small.too_large == (2,) and small.cached == (0, 1, 3)
    assert np.isfinite(small.activation(2)).all()


# Between them these read the views, both cuts and the logits.
_SCHEDULE = graft_schedule(
    (0, 1), TrainConfig(steps=(8, 8), batch=8, block_rate=1e-2, adapter_rate=1e-2)
)[1:]


def _trained(graft: GraftFactory, **options: Any) -> list[np.ndarray]:
    """The weights after both stages from a bank of these options."""
    made = graft()
    positions = positions_wanted(_SCHEDULE, features=True)
    made["bank"] = make_bank(made["chain"], positions=positions, **options)
    made["heldout"] = make_bank(made["chain"], n=7, seed=1, positions=positions, **options)
    run_schedule(_SCHEDULE, **made, select="last")
    return read_weights(made["student"])


@pytest.fixture(scope="module")
def memory() -> list[np.ndarray]:
    """The weights from a bank that has everything in memory."""
    return _trained(GraftFactory(make_strategy("one_device")), cache_mb=1)


def test_weights_do_not_depend_on_where_rows_are(
    graft: GraftFactory, memory: list[np.ndarray], tmp_path: Path
) -> None:
    disk = _trained(graft, spill_mb=1, spill_folder=tmp_path)
    both = _trained(graft, cache_mb=_POSITION_2_MB, spill_mb=1, spill_folder=tmp_path)
    for other in (disk, both):
        for found, expected in zip(other, memory, strict=True):
            np.testing.assert_array_equal(found, expected)
    for found, expected in zip(_trained(graft), memory, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_float16_gives_nearly_the_same_weights(
    graft: GraftFactory, memory: list[np.ndarray], tmp_path: Path
) -> None:
    half = _trained(graft, cache_mb=1, cache_dtype="float16")
    disk = _trained(graft, spill_mb=1, cache_dtype="float16", spill_folder=tmp_path)
    for found, same, expected in zip(half, disk, memory, strict=True):
        np.testing.assert_array_equal(found, same)
        np.testing.assert_allclose(found, expected, atol=2e-3)


_SEEN: collections.Counter[str] = collections.Counter()


class _Tap(keras.layers.Layer):
    """Counts the examples that pass through it."""

    def call(self, x: Any) -> Any:
        def count(values: np.ndarray) -> np.ndarray:
            _SEEN[self.name] += len(values)
            return values

        found = tf.numpy_function(count, [x], tf.float32)
        found.set_shape(x.shape)
        return found


def _tapped_chain(cuts: tuple[str, ...]) -> Chain:
    keras.utils.set_random_seed(0)
    x = image = keras.Input([8, 8, 3])
    x = _Tap(name="tap")(x)
    for index in range(4):
        x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name=f"conv{index}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(5)(x))
    return split_chain(trace_model(model), cuts)


@pytest.mark.parametrize("grafted", [(1,), (1, 2, 3)])
def test_more_blocks_are_no_more_passes_of_the_teacher(
    strategy: tf.distribute.Strategy, grafted: tuple[int, ...]
) -> None:
    with strategy.scope():
        chain = _tapped_chain(("conv0", "conv1", "conv2", "conv3"))
    phases = graft_schedule(grafted, TrainConfig(steps=(3, 3), batch=4))
    positions = positions_wanted(phases, features=True)
    _SEEN.clear()
    bank = make_bank(chain, cache_mb=1, positions=positions, batch=6)
    # Each view once, and one of them once more, which tells how large the activations are.
    assert _SEEN["tap"] == 21
    for position in positions:
        bank.activation(position)
    with strategy.scope():
        student = tuple(
            StudentBlock(b.index, clone_graph(b.graph, trainable=True))
            if b.index in grafted
            else StudentBlock(b.index, b.graph, kept=True)
            for b in chain.blocks
        )
    _SEEN.clear()
    run_schedule(
        phases,
        student=student,
        chain=chain,
        bank=bank,
        heldout=make_bank(chain, n=1, cache_mb=1, positions=positions),
        loss=make_loss("mse"),
        feature_weight=1.0,
        strategy=strategy,
        seed=0,
    )
    # The held-out bank's own view, twice; both stages read nothing but what is cached.
    assert _SEEN["tap"] == 2
