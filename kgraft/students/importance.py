"""Which channels matter: what the layers that read them would miss."""

import numpy as np

from kgraft.graph import Graph, run_calls
from kgraft.students.channels import ChannelGroups, mixes_channels


def channel_energy(x: np.ndarray) -> np.ndarray:
    """Takes the mean square of each channel.

    Args:
        x: `[examples, ..., channels]`.

    Returns:
        Float64 `[channels]`.
    """
    return np.square(x, dtype="float64").mean(axis=tuple(range(x.ndim - 1)))


def channel_scores(graph: Graph, groups: ChannelGroups, entry: np.ndarray) -> dict[int, np.ndarray]:
    """Says for each group what the layers that read it would miss without each channel.

    The score of a channel is the energy it brings to the next layers' outputs: its mean square on
    the views times the squared norm of the weights that read it, summed over its readers.

    Args:
        graph: the teacher's block.
        groups: its channel groups.
        entry: the teacher's activations at the block's entry, `[examples, ..., channels]`.

    Returns:
        `[channels]` by group; groups that no layer with weights reads are missing.
    """
    scores: dict[int, np.ndarray] = {}
    for call, values in run_calls(graph, entry):
        if not mixes_channels(call.op):
            continue
        x = values[call.input]
        energy = channel_energy(x)
        kernel = np.asarray(call.op.kernel, "float64")
        reading = np.square(kernel).sum(
            axis=tuple(a for a in range(kernel.ndim) if a != kernel.ndim - 2)
        )
        start = 0
        for group in groups.of(call.input):
            stop = start + groups.sizes[group]
            lost = (energy * reading)[start:stop]
            scores[group] = scores.get(group, np.zeros(stop - start)) + lost
            start = stop
    return scores
