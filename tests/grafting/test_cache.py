"""What is kept where, and what becomes of values that float16 cannot hold."""

from pathlib import Path

import numpy as np
import pytest

from kgraft.grafting.cache import Cache, Room, place_positions
from kgraft.grafting.rows import FileRows, MemoryRows

_MIB = 2**20
# Positions 1 and 2 of 16384 floats an example, 16 examples: 1 MiB each in float32.
_SHAPES = {2: (128, 128), 1: (16384,), 3: (5,)}


def _cache(room: Room) -> Cache:
    cache = Cache(np.zeros([16, 2, 2, 3], np.uint8))
    cache.make_room(_SHAPES, room)
    return cache


def test_memory_first_then_disk_then_nowhere() -> None:
    sizes = {3: 2 * _MIB, 1: _MIB, 2: _MIB, 4: _MIB}
    assert place_positions(sizes, Room(3, 1)) == {3: "memory", 1: "memory", 2: "disk"}
    assert place_positions(sizes, Room(0, 2)) == {3: "disk"}
    assert place_positions(sizes, Room(0, 0)) == {}
    # What does not fit is passed over, not the end of it.
    assert place_positions(sizes, Room(1, 1)) == {1: "memory", 2: "disk"}


def test_a_place_is_full_to_the_last_byte() -> None:
    assert place_positions({1: _MIB}, Room(1)) == {1: "memory"}
    assert place_positions({1: _MIB + 1}, Room(1)) == {}


def test_float16_takes_half_the_room() -> None:
    assert tuple(_cache(Room(1))) == (0, 2, 3)
    assert tuple(_cache(Room(1, dtype="float16"))) == (0, 1, 2, 3)
    assert tuple(_cache(Room(0.5, dtype="float16"))) == (0, 2, 3)


def test_logits_are_always_kept_in_memory_in_float32() -> None:
    cache = _cache(Room(0, dtype="float16"))
    assert isinstance(cache[3], MemoryRows) and cache[3].dtype == np.float32
    logits = np.full([16, 5], 1e6, np.float32)
    assert cache.put(0, {3: logits})
    np.testing.assert_array_equal(cache[3].read(slice(None)), logits)


def test_rows_are_put_where_there_is_room(tmp_path: Path) -> None:
    cache = _cache(Room(1, 1, folder=tmp_path))
    assert isinstance(cache[2], MemoryRows) and isinstance(cache[1], FileRows)
    rng = np.random.default_rng(0)
    values = {p: rng.normal(size=[16, *s]).astype(np.float32) for p, s in _SHAPES.items()}
    for first in (0, 10):
        assert cache.put(first, {p: v[first : first + 10] for p, v in values.items()})
    for position, expected in values.items():
        np.testing.assert_array_equal(cache[position].read(slice(None)), expected)


@pytest.mark.parametrize("bad", [65_520.0, -1e6, np.inf, np.nan])
def test_values_beyond_float16_are_refused_and_kept_in_float32_from_then_on(bad: float) -> None:
    room = Room(1, dtype="float16")
    cache = _cache(room)
    assert cache.put(0, {1: np.full([4, 16384], 65_504.0, np.float32)})
    values = np.ones([4, 16384], np.float32)
    values[1, 7] = bad
    assert not cache.put(4, {1: values})
    assert cache.too_large == {1}
    cache.make_room(_SHAPES, Room(1.5, dtype="float16"))
    assert [cache[p].dtype for p in (1, 2)] == [np.float32, np.float16]
    assert cache.put(4, {1: values})
    np.testing.assert_array_equal(cache[1].read(slice(4, 8)), values)
    # At twice the size it may be too much for the budget, which then goes to others.
    cache.make_room(_SHAPES, Room(0.75, dtype="float16"))
    assert tuple(cache) == (0, 2, 3)


def test_values_of_positions_without_room_are_passed_over() -> None:
    cache = _cache(Room(0))
    assert cache.put(0, {1: np.full([4, 16384], np.inf, np.float32)})
    assert tuple(cache) == (0, 3) and not cache.too_large


def test_close_lets_everything_go(tmp_path: Path) -> None:
    cache = _cache(Room(0, 2, folder=tmp_path))
    file = cache[1]
    cache.close()
    assert not list(cache)
    with pytest.raises(ValueError, match="closed file"):
        file.read(slice(None))
