"""Ctrl-C at moments when Python would lose it."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Puts a Ctrl-C off to the end of the block.

    Python prints and drops what is raised in a `__del__`, and TensorFlow's take long enough for a
    KeyboardInterrupt to be raised in one where graphs are collected. Outside the main thread, which
    alone gets signals, this does nothing.

    Raises:
        KeyboardInterrupt: or whatever the signal's handler does, once the block has ended.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pressed:
        signal.raise_signal(signal.SIGINT)
