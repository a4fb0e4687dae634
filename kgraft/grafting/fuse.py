"""From trained student blocks to one plain model without adapters."""

import dataclasses
from typing import Any

import keras

from kgraft.grafting.fold import CannotFoldError, Folding, fold_backward, fold_forward, merge
from kgraft.graph import (
    Call,
    Graph,
    clone_call,
    concat,
    fold_batch_norm,
    rebuild,
    set_weights,
    without_training_layers,
)
from kgraft.students.block import StudentBlock, adapter_layer


@dataclasses.dataclass(frozen=True)
class Remaining:
    """A layer that stays as it is where others are folded or compressed.

    Attributes:
        name: the layer.
        why: the reason, as a phrase.
    """

    name: str
    why: str


@dataclasses.dataclass(frozen=True)
class FusedStudent:
    """The student as one graph with layers of its own.

    Attributes:
        graph: image to logits.
        adapters_left: adapters that stay as 1x1 layers.
        norms_left: BatchNorm layers that stay.
    """

    graph: Graph
    adapters_left: tuple[Remaining, ...]
    norms_left: tuple[Remaining, ...]


def fuse(student: tuple[StudentBlock, ...]) -> FusedStudent:
    """Joins the student blocks and folds BatchNorm and adapters into their neighbours.

    Two adapters that meet are multiplied into one. That one folds into the layers that read it, or
    else into the layer that makes its input; otherwise it stays and is named.

    Args:
        student: one block for each of the teacher's; they do not change.

    Returns:
        The fused student; its output differs from the blocks' by rounding only.
    """
    joined = concat(tuple(piece for block in student for piece in _pieces(block)))
    adapters = _adapter_ids(student)
    names = [call.name for call in joined.calls if id(call.op) in adapters]
    # A BatchNorm would give an adapter a bias, and one with a bias does not fold at borders.
    joined, _ = fold_batch_norm(joined, spare=names)
    folding = Folding(joined)
    for name in names:
        adapter = folding.graph.call(name)
        before = folding.graph.producer(adapter.input)
        if before is not None and before.name in names:
            merge(folding, before, adapter)
    left = []
    for call in [c for c in folding.graph.calls if c.name in names]:
        why = _fold(folding, call)
        if why:
            left.append(Remaining(call.name, why))
    graph, norms = fold_batch_norm(_made(folding))
    return FusedStudent(graph, tuple(left), tuple(Remaining(name, why) for name, why in norms))


def _pieces(block: StudentBlock) -> tuple[Graph, ...]:
    return dataclasses.replace(block, body=without_training_layers(block.body)).pieces


def _adapter_ids(student: tuple[StudentBlock, ...]) -> set[int]:
    adapters = [a for block in student for a in (block.entry, block.exit) if a is not None]
    return {id(adapter_layer(adapter)) for adapter in adapters}


def _fold(folding: Folding, adapter: Call) -> str:
    try:
        fold_forward(folding, adapter)
        return ""
    except CannotFoldError as forward:
        try:
            fold_backward(folding, adapter)
            return ""
        except CannotFoldError as backward:
            return f"{forward}; {backward}"


def _made(folding: Folding) -> Graph:
    """Makes the layers of the folded graph and sets their weights."""

    def new_op(call: Call) -> Any:
        return clone_call(call, trainable=True, **folding.overrides.get(call.name, {}))

    made = rebuild(folding.graph, new_op, blank=True)
    for old, new in zip(folding.graph.calls, made.calls, strict=True):
        if isinstance(new.op, keras.layers.Layer) and new.op.weights:
            set_weights(new.op, folding.of(old))
    return made
