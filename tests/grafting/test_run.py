"""Schedules whose phases are shared with other processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grafting_cases import GraftFactory, read_weights

from kgraft.errors import KgraftError
from kgraft.grafting import Checkpoints, Phase, check_ready, run_schedule, settle_start
from kgraft.grafting.schedule import earlier_phases

PHASES = (
    Phase("one/block0", 0, 1, 3, 1e-2, 1e-2, batch=8),
    Phase("one/block1", 1, 2, 3, 1e-2, 1e-2, batch=8),
    Phase("two/blocks0-1", 0, 2, 3, 1e-3, 1e-3, batch=8, stage=2),
)
NAMES = tuple(phase.name for phase in PHASES)


class Run:
    """One process's part in the run that `folder` belongs to."""

    def __init__(self, graft: GraftFactory, folder: Path | None) -> None:
        self.made: dict[str, Any] = graft(batchnorm=True)
        self.checkpoints = Checkpoints(folder, {}) if folder else None
        self.told: list[str] = []
        if self.checkpoints:
            settle_start(self.made["student"], self.checkpoints)

    def __call__(self, only: tuple[str, ...] | None = None) -> tuple[str, ...]:
        results = run_schedule(
            PHASES, checkpoints=self.checkpoints, only=only, tell=self.told.append, **self.made
        )
        return tuple(result.name for result in results)

    @property
    def weights(self) -> list[np.ndarray]:
        return read_weights(self.made["student"])


@pytest.fixture
def whole(graft: GraftFactory) -> list[np.ndarray]:
    """The weights of one run that does all phases in order."""
    run = Run(graft, None)
    assert run() == NAMES
    return run.weights


def _assert_equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.tobytes() == other.tobytes()


def test_phases_one_at_a_time_give_the_weights_of_one_run(
    graft: GraftFactory, tmp_path: Path, whole: list[np.ndarray]
) -> None:
    for name in ("one/block1", "one/block0", "two/blocks0-1"):
        assert name in Run(graft, tmp_path)((name,))
    last = Run(graft, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert last() == NAMES
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    _assert_equal(last.weights, whole)


def test_what_another_run_trains_is_left_to_it(graft: GraftFactory, tmp_path: Path) -> None:
    run = Run(graft, tmp_path)
    with Checkpoints(tmp_path, {}).lock("one/block0"):
        assert run(NAMES) == ("one/block1",)
    assert run.told == [
        "left to others: one/block0, two/blocks0-1 (another run trains it, or what it goes on from)"
    ]


def test_a_whole_run_does_the_others_first_and_then_waits(
    graft: GraftFactory, tmp_path: Path, whole: list[np.ndarray]
) -> None:
    run = Run(graft, tmp_path)
    lock = Checkpoints(tmp_path, {}).lock("one/block0")
    lock.__enter__()

    def tell(what: str) -> None:
        # The other run is killed while this one waits.
        run.told.append(what)
        lock.__exit__(None, None, None)

    results = run_schedule(PHASES, checkpoints=run.checkpoints, tell=tell, **run.made)
    assert run.told == ["waiting for one/block0, which another run is training"]
    assert tuple(result.name for result in results) == NAMES
    done = sorted(tmp_path.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.stem for path in done[-3:]] == ["one_block1", "one_block0", "two_blocks0-1"]
    _assert_equal(run.weights, whole)


def test_a_phase_needs_those_it_goes_on_from(graft: GraftFactory, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    with pytest.raises(KgraftError) as error:
        check_ready(PHASES, ("one/block1", "two/blocks0-1"), checkpoints)
    assert str(error.value) == (
        "--phases: 2 two/blocks0-1 goes on from phases that are not finished: 0 one/block0; do "
        "these first, or ask for them too"
    )
    for ready in (None, NAMES, ("one/block0",)):
        check_ready(PHASES, ready, checkpoints)
    Run(graft, tmp_path)(("one/block0", "one/block1"))
    check_ready(PHASES, ("two/blocks0-1",), checkpoints)


def test_what_a_phase_goes_on_from() -> None:
    assert earlier_phases(PHASES[2], PHASES) == PHASES[:2]
    assert earlier_phases(PHASES[2], (PHASES[1], PHASES[2])) == (PHASES[1],)
    assert earlier_phases(PHASES[1], PHASES) == earlier_phases(PHASES[0], PHASES) == ()


def test_the_start_is_saved_once_and_put_back(graft: GraftFactory, tmp_path: Path) -> None:
    first = Run(graft, tmp_path)
    start = first.weights
    other = graft(batchnorm=True)["student"]
    other[0].body.variables[0].assign(other[0].body.variables[0] * 2)
    settle_start(other, Checkpoints(tmp_path, {}))
    _assert_equal(read_weights(other), start)
