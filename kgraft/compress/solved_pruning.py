"""Pruning in closed form: each kernel loses weights, and what is left makes good what they said."""

import collections
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
    split_activations,
    sums_last,
    whole,
)
from kgraft.students.channels import is_conv, is_depthwise
from kgraft.students.connected import run_pieces
from kgraft.students.ridge import MOST_SQUARED
from kgraft.students.solve import solve_body
from kgraft.students.sparse import Sparsity
from kgraft.students.thin_block import affordable_views

# So many times as many views are worth a new start.
_WORTH = 2


def fold_student(model: keras.Model) -> keras.Model:
    """Returns a student with its BatchNorms folded into the kernels before them.

    Args:
        model: a functional model; it does not change.
    """
    graph, _ = fold_batch_norm(clone_graph(trace_model(model), trainable=True))
    return as_model(graph, name=model.name)


def solvable_layers(model: keras.Model) -> frozenset[str]:
    """Names the layers whose kernels the closed form can prune.

    Those are convolutions and dense layers that are used once and do not read too much at once.

    Args:
        model: a flat functional model.
    """
    graph = trace_model(model)
    return frozenset(n for n in _fitted_layers(graph) if is_conv(graph.call(n).op))


def _fitted_layers(graph: Graph) -> frozenset[str]:
    uses = collections.Counter(id(call.op) for call in graph.calls)
    return frozenset(
        call.name
        for call in graph.calls
        if uses[id(call.op)] == 1
        and (is_depthwise(call.op) or (is_conv(call.op) and _features(call.op) <= MOST_SQUARED))
    )


def solve_pruned(
    model: keras.Model,
    start: keras.Model,
    sparsities: Mapping[str, Sparsity],
    bank: ViewBank,
    *,
    seed: int = 0,
) -> dict[str, list[np.ndarray]]:
    """Prunes a student in closed form, layer by layer from the image to the logits.

    Each layer is fitted by least squares to what it said in the student, from what reaches it in
    the pruned one, so that it also makes good what those before it lack. Layers with a sparsity
    lose weights on the way; the others are fitted with all they have.

    Args:
        model: the student, a flat functional model; it does not change.
        start: the same model; its kernels that the closed form does not know may be pruned.
        sparsities: how much of a kernel goes, for some of the `solvable_layers`.
        bank: the views that are fitted on.
        seed: seed for the choice of places.

    Returns:
        The new weights, by layer.
    """
    graph = without_training_layers(trace_model(model))
    own = clone_graph(without_training_layers(trace_model(start)), trainable=True)
    cuts = read_cuts(graph)
    teacher, student = split_chain(graph, cuts), split_chain(own, cuts)
    plan = {name: sparsities.get(name) for name in _fitted_layers(own)}
    wanted = seen = np.empty(0)
    for block, made in zip(teacher.blocks, student.blocks, strict=True):
        views = min(len(bank), affordable_views(block.graph))
        # Both models run from the pixels again for more views: not for a few more.
        if views >= _WORTH * len(seen):
            wanted, seen = (_entry(chain, block.index, bank, views) for chain in (teacher, student))
        rows = _spread(len(seen), min(views, len(seen)))
        wanted, seen = wanted[rows], seen[rows]
        seen = _solve_block(block, made.graph, wanted, seen, plan, seed=seed)
        wanted = run_pieces([block.graph], wanted)
    return {call.name: call.op.get_weights() for call in own.calls if call.name in plan}


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.linspace(0, count - 1, wanted).astype(int)


def _entry(chain: Chain, index: int, bank: ViewBank, views: int) -> np.ndarray:
    """What a model has at the entry of a block, on some views."""
    pixels = bank.views[_spread(len(bank), views)]
    pieces = [block.graph for block in chain.blocks[:index]]
    first = functools.partial(preprocess, name=bank.preprocess)
    # Pixels have a byte, what is made of them four.
    return run_pieces([first, *pieces], pixels, grow=16)


def _solve_block(
    block: Block,
    made: Graph,
    wanted: np.ndarray,
    seen: np.ndarray,
    plan: Mapping[str, Sparsity | None],
    *,
    seed: int,
) -> np.ndarray:
    """Fits those of a block's layers that have a plan, and returns what the block then makes."""
    teacher, body = split_activations(block.graph), sums_last(made)
    fits = fits_of(body, lambda value: whole(teacher, before_activation(teacher, value)))
    fits = tuple(fit for fit in fits if fit.call in plan)
    return solve_body(
        Blueprint(teacher, fits, np.arange(wanted.shape[-1])),
        body,
        entry=wanted,
        student_entry=seen,
        seed=seed,
        sparse={name: sparsity for name, sparsity in plan.items() if sparsity},
    ).output


def _features(layer: Any) -> int:
    return math.prod(layer.kernel.shape[:-1])
