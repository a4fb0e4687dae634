"""A user's own student, cut into blocks that fit the teacher's."""

import numpy as np

from kgraft.errors import KgraftError
from kgraft.graph import (
    Chain,
    Graph,
    clone_graph,
    remember_few_batches,
    run_calls,
    synchronize_statistics,
    without_training_layers,
)
from kgraft.students.block import StudentBlock, make_adapter, set_adapter_matrix
from kgraft.students.ridge import fit_adapter
from kgraft.students.thin_block import ADAPTER_RIDGE, Activations, affordable_views


def own_block(
    chain: Chain, own: Chain, index: int, *, activations: Activations | None
) -> StudentBlock:
    """Makes a student block of a piece of the user's model.

    Args:
        chain: the teacher.
        own: the user's student, cut into as many blocks.
        index: which block.
        activations: the teacher's activations at the cuts, to solve the adapters from; None
            leaves them random and lets BatchNorm train on batch statistics.

    Returns:
        The block, with layers of its own.
    """
    block, piece = chain.blocks[index], own.blocks[index].graph
    body = clone_graph(without_training_layers(piece), trainable=True)
    synchronize_statistics(body)
    if activations is None:
        remember_few_batches(body)
    entry = exit_ = None
    if body.input_shape[-1] != block.graph.input_shape[-1]:
        shape = block.graph.input_shape
        entry = make_adapter(f"{block.name}_entry", shape, body.input_shape[-1])
    if body.output_shape[-1] != block.graph.output_shape[-1]:
        width = block.graph.output_shape[-1]
        exit_ = make_adapter(f"{block.name}_exit", body.output_shape, width)
    made = StudentBlock(index, body, entry, exit_, train_statistics=activations is None)
    if activations is not None:
        _solve_adapters(made, own, activations)
    return made


def _solve_adapters(made: StudentBlock, own: Chain, activations: Activations) -> None:
    """Entry towards what the student itself sees there, exit towards what the teacher makes."""
    views = affordable_views(*(block.graph for block in own.blocks[: made.index + 1]))
    x = activations(made.index, views)
    if made.entry is not None:
        seen = activations(0, views)
        for block in own.blocks[: made.index]:
            seen = _run(block.graph, seen)
        matrix = fit_adapter(x, seen, strength=ADAPTER_RIDGE)
        set_adapter_matrix(made.entry, matrix)
        x = x @ matrix
    if made.exit is not None:
        targets = activations(made.index + 1, views)
        matrix = fit_adapter(_run(made.body, x), targets, strength=ADAPTER_RIDGE)
        set_adapter_matrix(made.exit, matrix)


def _run(graph: Graph, entry: np.ndarray) -> np.ndarray:
    values = {graph.input: entry}
    for _, live in run_calls(graph, entry):
        values = live
    return values[graph.output]


def check_own(chain: Chain, own: Chain) -> None:
    """Checks that a user's student fits the teacher, cut by cut.

    Raises:
        KgraftError: it has another number of blocks, or another shape at a cut.
    """
    if len(own.blocks) != len(chain.blocks):
        raise KgraftError(
            f"--student_cuts: the teacher has {len(chain.blocks)} blocks, the student "
            f"{len(own.blocks)}: give {len(chain.blocks) - 1} cuts, one for each of the teacher's "
            f"({', '.join(chain.cuts)})"
        )
    ends = [(chain.graph.input, own.graph.input), *zip(chain.cuts, own.cuts, strict=True)]
    for ours, theirs in [*ends, (chain.graph.output, own.graph.output)]:
        wanted, got = chain.graph.shapes[ours], own.graph.shapes[theirs]
        adaptable = ours in chain.cuts
        if wanted[1:-1] != got[1:-1] or (not adaptable and wanted[-1] != got[-1]):
            raise KgraftError(
                f"--student_cuts: at the teacher's {ours!r} the shape is {wanted}, at the "
                f"student's {theirs!r} {got}: choose a cut where all but the channels agree"
            )
