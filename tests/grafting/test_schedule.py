"""Which phases a graft schedule has."""

import pytest

from kgraft.config import TrainConfig
from kgraft.errors import KgraftError
from kgraft.grafting.schedule import Phase, graft_schedule, positions_wanted


def _spans(grafted: tuple[int, ...], **train) -> list[tuple[str, int, int]]:
    return [(p.name, p.start, p.stop) for p in graft_schedule(grafted, TrainConfig(**train))]


def test_forward() -> None:
    assert _spans((2, 3, 4)) == [
        ("one/block2", 2, 3),
        ("one/block3", 3, 4),
        ("one/block4", 4, 5),
        ("two/blocks2-3", 2, 4),
        ("two/blocks2-4", 2, 5),
    ]


def test_backward() -> None:
    assert _spans((2, 3, 4), order="backward")[3:] == [
        ("two/blocks3-4", 3, 5),
        ("two/blocks2-4", 2, 5),
    ]


def test_kept_blocks_lie_inside_spans() -> None:
    assert _spans((3, 0, 1))[3:] == [("two/blocks0-1", 0, 2), ("two/blocks0-3", 0, 4)]


def test_one_block_and_none() -> None:
    assert _spans((1,)) == [("one/block1", 1, 2)]
    assert _spans(()) == []


def test_steps_and_rates_of_the_stages() -> None:
    train = TrainConfig(
        steps=(7, 9), block_rate=1.0, adapter_rate=2.0, block_rate_two=3.0, adapter_rate_two=4.0
    )
    one, _, two = graft_schedule((0, 1), train)
    assert (one.steps, one.block_rate, one.adapter_rate, one.stage) == (7, 1.0, 2.0, 1)
    assert (two.steps, two.block_rate, two.adapter_rate, two.stage) == (9, 3.0, 4.0, 2)
    assert two.blocks == (0, 1)


def test_every_phase_its_own_steps_and_every_block_its_own_rate() -> None:
    train = TrainConfig(steps=(5, 4, 3, 2, 1), block_rate=(1.0, 2.0, 3.0), block_rate_two=0.5)
    phases = graft_schedule((3, 4, 5), train)
    assert [phase.steps for phase in phases] == [5, 4, 3, 2, 1]
    assert [phase.block_rate for phase in phases] == [1.0, 2.0, 3.0, 0.5, 0.5]


def test_other_numbers_of_steps_and_rates() -> None:
    with pytest.raises(KgraftError, match=r"--steps must be .* each of the 5 phases; got 3"):
        graft_schedule((3, 4, 5), TrainConfig(steps=(1, 2, 3)))
    with pytest.raises(KgraftError, match=r"--block_rate must be .* the 3 replaced blocks; got 2"):
        graft_schedule((3, 4, 5), TrainConfig(block_rate=(1.0, 2.0)))


@pytest.mark.parametrize("grafted", [(1, 1), (-1, 0)])
def test_bad_blocks(grafted: tuple[int, ...]) -> None:
    with pytest.raises(KgraftError, match="different numbers from 0"):
        graft_schedule(grafted, TrainConfig())


def test_empty_span() -> None:
    with pytest.raises(KgraftError, match="0 <= start < stop"):
        Phase("x", 2, 2, 1, 1.0, 1.0)


def test_positions_in_order_of_use() -> None:
    phases = graft_schedule((1, 2, 3), TrainConfig(steps=(10, 10)))
    assert positions_wanted(phases, features=False) == (1, 3, 2)
    assert positions_wanted(phases, features=True) == (1, 3, 2, 4)


def test_the_views_need_no_cache() -> None:
    assert positions_wanted(graft_schedule((0,), TrainConfig()), features=False) == ()
