"""A run that was stopped and started again ends with the weights of a run never stopped."""

import signal
from pathlib import Path

import numpy as np
from grafting_cases import GraftFactory, load, read_weights, start_distil, wait_distil

from kgraft.grafting import Checkpoints, Phase, PhaseResult, run_schedule, settle_start

_PHASES = (
    Phase("one/block0", 0, 1, 6, 1e-2, 1e-2, batch=8),
    Phase("one/block1", 1, 2, 6, 1e-2, 1e-2, batch=8),
    Phase("two/blocks0-1", 0, 2, 6, 1e-3, 1e-3, batch=8, stage=2),
)
# After the last update of the last phase, before it is saved.
_KILL = ["two/blocks0-1", 6]


def _run(
    graft: GraftFactory, folder: Path | None, phases: tuple[Phase, ...], *, spoil: bool = False
) -> tuple[tuple[PhaseResult, ...], list[np.ndarray]]:
    made = graft(batchnorm=True)
    student = made.pop("student")
    if spoil:
        for variable in student[0].body.variables:
            variable.assign(variable * 2)
    checkpoints = Checkpoints(folder, {}) if folder else None
    if checkpoints:
        settle_start(student, checkpoints)
    results = run_schedule(phases, student=student, checkpoints=checkpoints, **made)
    return results, read_weights(student)


def test_resumed_run_has_the_weights_of_a_whole_run(graft: GraftFactory, tmp_path: Path) -> None:
    results, whole = _run(graft, None, _PHASES)
    _run(graft, tmp_path, _PHASES[:2])
    # Other starting weights do not matter: those of the first run were saved.
    resumed, weights = _run(graft, tmp_path, _PHASES, spoil=True)
    assert all(np.array_equal(a, b) for a, b in zip(whole, weights, strict=True))
    assert [r.name for r in resumed] == [p.name for p in _PHASES]
    assert [r.heldout_loss_end for r in resumed] == [r.heldout_loss_end for r in results]
    assert resumed[2].heldout_loss_start == results[2].heldout_loss_start


def test_killed(tmp_path: Path) -> None:
    work = str(tmp_path / "work")
    # In one process a whole run, and one of the same settings that kills itself.
    runs = [{"name": "whole", "last": 2}, {"workdir": work, "last": 2, "kill": _KILL}]
    killed = start_distil(tmp_path, runs)
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "work" / "two_blocks0-1.json").exists()
    # The other weights this run starts from do not matter.
    wait_distil(
        start_distil(tmp_path, [{"name": "resumed", "workdir": work, "last": 2, "seed": 99}])
    )
    for a, b in zip(load(tmp_path, "whole"), load(tmp_path, "resumed"), strict=True):
        np.testing.assert_array_equal(a, b)
