"""A graph run on arrays, one call at a time."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kgraft.graph.ir import Call, Graph

# Large enough to keep the cores busy, small enough for a few batches in memory.
_BATCH_BYTES = 64 * 2**20


def batch_slices(*arrays: np.ndarray, grow: int = 1) -> Iterator[slice]:
    """Cuts examples into batches of bounded memory.

    Args:
        *arrays: arrays of the same number of examples.
        grow: how many times larger what is made of an example is than the example.

    Yields:
        Slices over the examples.
    """
    count = len(arrays[0])
    example = sum(array[:1].nbytes for array in arrays) * grow
    step = max(1, min(256, _BATCH_BYTES // max(1, example)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def run_calls(graph: Graph, entry: np.ndarray) -> Iterator[tuple[Call, dict[str, np.ndarray]]]:
    """Walks a graph on arrays, one call at a time.

    Each call is handed out *before* it runs, with the values made so far, so that its layer's
    weights may be set on the way. Values nobody needs any more are let go.

    Args:
        graph: the graph.
        entry: what comes in, `[examples, ...]`.

    Yields:
        The call about to run and the live values by name, always in the same dictionary: once the
        walk is done it holds the output.
    """
    last_use = {value: call.name for call in graph.calls for value in call.inputs}
    values: dict[str, np.ndarray] = {graph.input: entry}
    for call in graph.calls:
        yield call, values
        made = _in_batches(call, values)
        values.update(zip(call.outputs, made, strict=True))
        for value in call.inputs:
            if last_use[value] == call.name and value != graph.output:
                values.pop(value, None)


def _in_batches(call: Call, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    inputs = {value: values[value] for value in call.inputs}
    count = len(values[call.inputs[0]])
    made: list[np.ndarray] = []
    for rows in batch_slices(*inputs.values()):
        batch = {name: tf.convert_to_tensor(value[rows]) for name, value in inputs.items()}
        outputs = [np.asarray(out) for out in call.run(batch, training=False)]
        # Filled in place: joining the parts at the end would take twice the memory.
        made = made or [np.empty((count, *out.shape[1:]), out.dtype) for out in outputs]
        for whole, part in zip(made, outputs, strict=True):
            whole[rows] = part
    return made
