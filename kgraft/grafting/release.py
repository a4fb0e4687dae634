"""Graphs that nothing uses any more, and what TensorFlow would keep of them."""

import contextlib
import gc
from collections.abc import Iterator

from tensorflow.python.framework import ops

from kgraft.interrupts import interrupts_held

_NAMES = "CustomGradient-"


@contextlib.contextmanager
def releasing_graphs() -> Iterator[None]:
    """Lets go, when it ends, of the graphs that were compiled in it and that nothing uses any more.

    TensorFlow registers the gradient of each `tf.custom_gradient` in a graph under a name of its
    own, for as long as the process lives, and with it the graph and all that the graph holds. There
    is one in each sum over replicas, and so in each compiled update, in a synchronised BatchNorm
    and in SiLU. A gradient tape does not look them up, and the code inside may not leave anything
    that does.
    """
    # There is no public way to take back a registration; without this one, memory grows.
    registered = getattr(ops.gradient_registry, "_registry", {})
    before = {name for name in tuple(registered) if name.startswith(_NAMES)}
    try:
        yield
    finally:
        with interrupts_held():
            for name in [n for n in tuple(registered) if n.startswith(_NAMES) and n not in before]:
                del registered[name]
            # Compiled functions hold themselves and their data on the device until a collection.
            gc.collect()
