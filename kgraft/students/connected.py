"""A connected run of student blocks solved on what the student itself makes."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kgraft.graph import Chain, Graph, batch_slices
from kgraft.students.block import StudentBlock, set_adapter_matrix
from kgraft.students.ridge import fit_adapter
from kgraft.students.solve import solve_body
from kgraft.students.thin_block import ADAPTER_RIDGE, Activations, affordable_views

Piece = Graph | Callable[[tf.Tensor], tf.Tensor]


def solve_connected(
    chain: Chain,
    student: Sequence[StudentBlock],
    activations: Activations,
    *,
    seed: int,
) -> None:
    """Fits every layer anew, one after another, on what the student so far makes.

    Blocks made one by one are fitted to the teacher's activations at their entry; connected, each
    gets what the blocks before it make. Targets stay the teacher's own values, so that each layer
    makes good what those before it lack. Weights are pulled towards those they have.

    Args:
        chain: the teacher; it does not change.
        student: one block for each of the teacher's; the replaced ones change in place.
        activations: the teacher's activations at the cuts.
        seed: seed for the choice of places to fit on.
    """
    for index, made in enumerate(student):
        if not made.kept:
            own = _own_entry(chain, student, activations, index)
            _solve_block(chain, made, activations, own, seed)


def _own_entry(
    chain: Chain, student: Sequence[StudentBlock], activations: Activations, index: int
) -> np.ndarray:
    """What the student makes at a block's entry, before the entry adapter."""
    block = student[index]
    views = affordable_views(chain.blocks[index].graph, block.body)
    first = next((i for i in range(index) if not student[i].kept), index)
    x = activations(first, views)
    return run_pieces([piece for before in student[first:index] for piece in before.pieces], x)


def run_pieces(pieces: Sequence[Piece], x: np.ndarray, *, grow: int = 4) -> np.ndarray:
    """Runs graphs, or other functions of tensors, one after another in batches.

    Args:
        pieces: what is run.
        x: what comes in, `[examples, ...]`.
        grow: how many times larger what is made of an example is than the example.
    """
    if not pieces:
        return x

    def run(batch: tf.Tensor) -> tf.Tensor:
        for piece in pieces:
            batch = piece(batch)
        return batch

    spec = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
    function = tf.function(run, input_signature=[spec], autograph=False).get_concrete_function()
    parts = [function(tf.constant(x[rows])).numpy() for rows in batch_slices(x, grow=grow)]
    return np.concatenate(parts)


def _solve_block(
    chain: Chain, made: StudentBlock, activations: Activations, own: np.ndarray, seed: int
) -> None:
    if made.blueprint is not None:
        inside = own if made.entry is None else run_pieces([made.entry], own)
        out = solve_body(
            made.blueprint,
            made.body,
            entry=activations(made.index, len(own)),
            student_entry=inside,
            seed=seed,
        ).output
    elif made.exit is not None:
        out = run_pieces([p for p in (made.entry, made.body) if p is not None], own)
    if made.exit is not None:
        targets = activations(made.index + 1, len(own))
        set_adapter_matrix(made.exit, fit_adapter(out, targets, strength=ADAPTER_RIDGE))
