"""The scalars that TensorBoard finds."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kgraft.grafting import Phase, Progress, TensorBoardLog

_PHASE = Phase("one/block0", 0, 1, 4, 0.5, 0.25)


def _values(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)
    ]


def test_scalars_per_phase(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log(Progress(_PHASE, 2, np.array([0.5, 0.25], np.float32)))
    log(Progress(_PHASE, 4, np.array([0.125, 1.0], np.float32)))
    log(Progress(_PHASE, 4, np.array([]), 0.75, 0.5))
    log(Progress(Phase("one/block1", 1, 2, 1, 1.0, 1.0), 1, np.array([2.0], np.float32)))
    log.close()
    first = tmp_path / "one" / "block0"
    assert _values(first, "loss") == [(1, 0.5), (2, 0.25), (3, 0.125), (4, 1.0)]
    assert _values(first, "heldout_loss") == [(4, 0.75)]
    assert _values(first, "heldout_agreement") == [(4, 0.5)]
    assert [step for step, _ in _values(first, "block_rate")] == [2, 4]
    # Cosine decay: update 2 of 4, the one after the first, is at a quarter of the half wave.
    expected = 0.5 * (1 + np.cos(np.pi / 4)) / 2
    assert _values(first, "block_rate")[0][1] == pytest.approx(expected, rel=1e-5)
    assert _values(first, "adapter_rate")[0][1] == pytest.approx(expected / 2, rel=1e-5)
    assert _values(tmp_path / "one" / "block1", "loss") == [(1, 2.0)]
