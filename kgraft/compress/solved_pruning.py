"""Pruning in closed form: each kernel loses weights, and what is left makes good what they said."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kgraft.data.preprocess import preprocess
from kgraft.grafting.bank import ViewBank
from kgraft.graph import (
    Block,
    Chain,
    Graph,
    as_model,
    clone_graph,
    fold_batch_norm,
    read_cuts,
    split_chain,
    trace_model,
    without_training_layers,
)
from kgraft.students.blueprint import (
    Blueprint,
    before_activation,
    fits_of,
    is_fitted,
    split_activations,
    sums_last,
    whole,
)
from kgraft.students.channels import is_conv
from kgraft.students.connected import run_pieces
from kgraft.students.solve import solve_body
from kgraft.students.sparse import Sparsity
from kgraft.students.thin_block import affordable_views

# A kernel that reads more at once is left as it is: its normal matrix would not fit.
_MOST_FEATURES = 8192
# So many times as many views are worth a new start.
_WORTH = 2


def fold_student(model: keras.Model) -> keras.Model:
    """Returns a student with its BatchNorms folded into the kernels before them.

    Args:
        model: a functional model; it does not change.
    """
    graph, _ = fold_batch_norm(clone_graph(trace_model(model), trainable=True))
    return as_model(graph, name=model.name)


def solve_pruned(
    model: keras.Model, sparsities: Mapping[str, Sparsity], bank: ViewBank
) -> dict[str, list[np.ndarray]]:
    """Prunes a student in closed form, layer by layer from the image to the logits.

    Each layer is fitted by least squares to what it said in the student, from what reaches it in
    the pruned one, so that it also makes good what those before it lack. Layers with a sparsity
    lose weights on the way; the others are fitted with all they have.

    Args:
        model: the student, a flat functional model; it does not change.
        sparsities: how much of a kernel goes, by layer. Layers that the closed form does not know,
            or that read too much at once, keep the weights they have.
        bank: the views that are fitted on.

    Returns:
        The new weights, by layer.
    """
    graph = without_training_layers(trace_model(model))
    own = clone_graph(graph, trainable=True)
    cuts = read_cuts(graph)
    teacher, student = split_chain(graph, cuts), split_chain(own, cuts)
    wanted = seen = np.empty(0)
    for block, made in zip(teacher.blocks, student.blocks, strict=True):
        views = min(len(bank), affordable_views(block.graph))
        # Both models run from the pixels again for more views: not for a few more.
        if views >= _WORTH * len(seen):
            wanted, seen = (_entry(chain, block.index, bank, views) for chain in (teacher, student))
        rows = _spread(len(seen), min(views, len(seen)))
        wanted, seen = wanted[rows], seen[rows]
        seen = _solve_block(block, made.graph, wanted, seen, sparsities)
        wanted = run_pieces([block.graph], wanted)
    return {call.name: call.op.get_weights() for call in own.calls if is_fitted(call.op)}


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.linspace(0, count - 1, wanted).astype(int)


def _entry(chain: Chain, index: int, bank: ViewBank, views: int) -> np.ndarray:
    """What a model has at the entry of a block, on some views."""
    pixels = bank.views[_spread(len(bank), views)]
    pieces = [block.graph for block in chain.blocks[:index]]
    return run_pieces([functools.partial(preprocess, name=bank.preprocess), *pieces], pixels)


def _solve_block(
    block: Block,
    made: Graph,
    wanted: np.ndarray,
    seen: np.ndarray,
    sparsities: Mapping[str, Sparsity],
) -> np.ndarray:
    """Fits a block's layers, and returns what the block then makes."""
    teacher, body = split_activations(block.graph), sums_last(made)
    fits = fits_of(body, lambda value: whole(teacher, before_activation(teacher, value)))
    fits = tuple(fit for fit in fits if _fits_memory(body.call(fit.call).op))
    blueprint = Blueprint(teacher, fits, np.arange(wanted.shape[-1]))
    known = {fit.call for fit in fits if is_conv(body.call(fit.call).op)}
    return solve_body(
        blueprint,
        body,
        entry=wanted,
        student_entry=seen,
        seed=block.index,
        sparse={name: sparsities[name] for name in known & sparsities.keys()},
    ).output


def _fits_memory(layer: Any) -> bool:
    return not is_conv(layer) or math.prod(layer.kernel.shape[:-1]) <= _MOST_FEATURES
