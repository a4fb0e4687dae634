import gc
import signal
import threading

import pytest

from kgraft.interrupts import interrupts_held


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """What a shell starts in the background ignores Ctrl-C, these tests with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class PressesCtrlC:
    """Is collected with a Ctrl-C, as a graph is during which a user presses it."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_a_ctrl_c_in_a_collection_is_not_lost():
    ended = []
    PressesCtrlC()
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        gc.collect()
        ended.append(True)
    assert ended
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_wins_over_a_ctrl_c():
    with pytest.raises(ValueError, match="broke"), interrupts_held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("broke")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_do_not_touch_signals():
    entered = []

    def work():
        with interrupts_held():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.default_int_handler]
