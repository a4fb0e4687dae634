"""The recipe `drop`: in place of a block what its shapes need and nothing more."""

from typing import Any

import numpy as np
from keras import layers as kl

from kgraft.errors import KgraftError
from kgraft.graph import Block, Call, Graph, Ref, clone_op, rebuild
from kgraft.graph.ir import Shape
from kgraft.students.block import StudentBlock
from kgraft.students.blueprint import Blueprint, fits_of, split_activations, whole
from kgraft.students.solve import rectifier_bounds, solve_body
from kgraft.students.solved_body import solved_pattern
from kgraft.students.thin_block import Activations, affordable_views

_POOLS = (kl.MaxPooling2D, kl.AveragePooling2D, kl.ZeroPadding2D)
_ACTIVATIONS = (kl.Activation, kl.ReLU, kl.LeakyReLU, kl.ELU)


def drop_block(block: Block, *, activations: Activations | None, seed: int) -> StudentBlock:
    """Makes what the shapes around a block need.

    Where they agree that is nothing. Else it is a pool to the new size and a 1x1 layer to the new
    width, with the activation that the block ends in, if it ends in one.

    Args:
        block: the teacher's block.
        activations: the teacher's activations at the cuts, to solve the layer from; None leaves
            it random.
        seed: seed for the choice of places to fit on.

    Returns:
        The block; it needs no adapters.

    Raises:
        KgraftError: pooling cannot make the block's output size.
    """
    pattern = split_activations(solved_pattern(block))
    shapes = pattern.input_shape, pattern.output_shape
    if shapes[0] == shapes[1]:
        body = Graph("x", "x", (), {"x": shapes[0]})
        return StudentBlock(block.index, body, notes=("dropped",))
    last = _last_activation(pattern)
    ends_in_it = last is not None and last.output == pattern.output
    # Behind pools the layer makes values that have been through it: only a ReLU leaves them alone.
    if last is not None and not (ends_in_it or rectifier_bounds(last.op)):
        last = None
    ops = [*_pooling(block, *shapes), _mixing(shapes[1]), *([clone_op(last.op)] if last else [])]
    body = _in_a_row(block, ops, shapes[0])
    if activations is None:
        return StudentBlock(block.index, body, train_statistics=True, notes=("dropped",))
    # In front of the activation where nothing comes behind it that changes shapes.
    target = last.input if last is not None and ends_in_it else pattern.output
    fits = fits_of(body, lambda _: whole(pattern, target))
    blueprint = Blueprint(pattern, fits, np.arange(shapes[0][-1] or 1))
    entry = activations(block.index, affordable_views(pattern))
    # The fit is pulled towards the weights there are: what no view says shall not stay as drawn.
    for layer in body.layers:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    solve_body(blueprint, body, entry=entry, student_entry=entry, seed=seed)
    return StudentBlock(block.index, body, notes=("dropped",), blueprint=blueprint)


def check_drop(block: Block) -> None:
    """Checks that a block can be dropped.

    Args:
        block: the teacher's block.

    Raises:
        KgraftError: pooling cannot make the block's output size.
    """
    shapes = block.graph.input_shape, block.graph.output_shape
    if shapes[0] != shapes[1]:
        _pooling(block, *shapes)


def _last_activation(graph: Graph) -> Call | None:
    """The activation a block ends in, past pools and paddings."""
    call = graph.producer(graph.output)
    while call is not None and isinstance(call.op, _POOLS):
        call = graph.producer(call.input)
    return call if call is not None and isinstance(call.op, _ACTIVATIONS) else None


def _pooling(block: Block, given: Shape, wanted: Shape) -> list[Any]:
    if len(given) == len(wanted):
        pairs = list(zip(given[1:-1], wanted[1:-1], strict=True))
        factors = [(a or 1) // (b or 1) for a, b in pairs]
        if all(a and b and f and a // f == b for (a, b), f in zip(pairs, factors, strict=True)):
            if max(factors, default=1) == 1:
                return []
            if len(given) == 4:
                return [kl.AveragePooling2D(tuple(factors))]
    elif len(given) == 4 and len(wanted) == 2:
        return [kl.GlobalAveragePooling2D()]
    raise KgraftError(
        f"--student: drop cannot make {wanted} of {given} in {block.name} ({block.entry_cut} to "
        f"{block.exit_cut}): pooling makes a whole fraction of a size; give the block another "
        f"recipe, such as {block.index}=width:0.5 or {block.index}=keep in --graft"
    )


def _mixing(wanted: Shape) -> Any:
    width = wanted[-1]
    return kl.Conv2D(width, 1) if len(wanted) == 4 else kl.Dense(width)


def _in_a_row(block: Block, ops: list[Any], shape: Shape) -> Graph:
    """A graph of layers one after another, built."""
    calls, value = [], f"{block.name}_drop_input"
    start = value
    for number, op in enumerate(ops):
        name = f"{block.name}_drop{number}"
        renamed = clone_op(op, name=name)
        calls.append(Call(name, renamed, (Ref(value),), {}, (name,)))
        value = name
    return rebuild(Graph(start, value, tuple(calls), {start: shape}), lambda call: call.op)
