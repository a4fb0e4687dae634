"""The progress line on a terminal and in a log."""

import io

import numpy as np
import pytest

from kgraft.grafting import Phase, Progress, ProgressLine, tell_all
from kgraft.grafting.progress import format_seconds

_PHASES = (Phase("one/block0", 0, 1, 10, 1.0, 1.0), Phase("one/block1", 1, 2, 10, 1.0, 1.0))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _tell(line: ProgressLine) -> None:
    line(Progress(_PHASES[1], 4, np.array([0.5, 0.3]), seconds_per_step=20.0))
    line(Progress(_PHASES[1], 10, np.array([0.2])))
    line(Progress(_PHASES[1], 10, np.array([]), 0.25, 0.9))


def test_terminal() -> None:
    terminal = _Terminal()
    _tell(ProgressLine(_PHASES, terminal))
    first, second, last = terminal.getvalue().split("\r")[1:]
    assert first == "[2/2] one/block1  step 4/10  loss 0.4  2:00 left\x1b[K"
    assert second == "[2/2] one/block1  step 10/10  loss 0.2\x1b[K"
    assert last == "[2/2] one/block1  step 10/10  loss 0.2  held-out 0.25  took 0:00\x1b[K\n"


def test_a_phase_that_has_not_begun_has_no_loss_of_the_one_before() -> None:
    terminal = _Terminal()
    line = ProgressLine(_PHASES, terminal)
    line(Progress(_PHASES[0], 10, np.array([0.2]), 0.25, 0.9))
    line(Progress(_PHASES[1], 0, np.array([])))
    assert terminal.getvalue().split("\r")[-1] == "[2/2] one/block1  step 0/10\x1b[K"


def test_log_has_one_line_per_phase() -> None:
    log = io.StringIO()
    _tell(ProgressLine(_PHASES, log))
    expected = "[2/2] one/block1  step 10/10  loss 0.2  held-out 0.25  took 0:00\n"
    assert log.getvalue() == expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00")]
)
def test_times(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_tell_all_tells_in_order() -> None:
    told: list[str] = []
    tell = tell_all(lambda p: told.append("a"), None, lambda p: told.append("b"))
    tell(Progress(_PHASES[0], 1, np.array([1.0])))
    assert told == ["a", "b"]
