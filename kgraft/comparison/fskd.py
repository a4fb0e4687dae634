"""FSKD: a pruned student corrected by 1x1 convolutions, solved and absorbed, no gradient step.

Li, Li, Liu, Zhang, "Few Sample Knowledge Distillation for Efficient Network Compression", CVPR
2020.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kgraft.comparison.classifier import feature_values
from kgraft.comparison.pruned import pruned_student
from kgraft.comparison.setting import Outcome, Setting
from kgraft.comparison.whole import as_whole
from kgraft.grafting import FusedStudent, fuse
from kgraft.graph import (
    Call,
    Graph,
    batch_slices,
    clone_graph,
    concat,
    fold_batch_norm,
    run_calls,
    without_training_layers,
)
from kgraft.students import StudentBlock
from kgraft.students.channels import is_conv
from kgraft.students.thin_block import affordable_views

Values = dict[str, np.ndarray]


def fskd(setting: Setting) -> Outcome:
    """Solves a square 1x1 convolution behind each convolution of the pruned teacher.

    In the order of the network, each on what the corrected ones before it make: least squares from
    the pruned convolution's output, BatchNorm included, to the teacher's at the same channels,
    without bias; then the 1x1 is absorbed by the convolution. Kept blocks and classifiers are left
    as they are, and depthwise convolutions, which cannot absorb it.
    """
    pruned = pruned_student(setting.chain, setting.job.recipes)
    # What comes before is the teacher's, and its large maps would leave room for fewer views.
    first = min(setting.grafted)
    blocks = as_whole(pruned.blocks)
    tail = fuse(blocks[first:])
    whole = concat(tuple(block.graph for block in setting.chain.blocks[first:]))
    teacher, _ = fold_batch_norm(clone_graph(without_training_layers(whole), trainable=False))
    bank = setting.bank
    rows = np.linspace(0, len(bank) - 1, min(len(bank), affordable_views(teacher))).astype(int)
    replaced = {
        call.name for index in setting.grafted for call in setting.chain.blocks[index].graph.calls
    }
    kept = {name: channels for name, channels in pruned.kept.items() if name in replaced}
    solved = _correct(tail, teacher, bank.activation(first, rows), kept)
    student = fuse((*blocks[:first], StudentBlock(first, tail.graph)))
    student = dataclasses.replace(student, adapters_left=tail.adapters_left)
    settings = {"start": "pruned", "views_used": len(rows), "convolutions_solved": solved}
    return Outcome(student, 0, settings, selection="solved; nothing is chosen")


def _correct(
    student: FusedStudent, teacher: Graph, entry: np.ndarray, kept: dict[str, np.ndarray]
) -> int:
    """Walks both networks side by side and corrects the student's convolutions in place."""
    walk, done = run_calls(teacher, entry), set()
    features = feature_values(teacher)
    names = {call.name for call in teacher.calls if call.output in features}
    for call, values in run_calls(student.graph, entry):
        if call.name not in kept or call.name not in names or id(call.op) in done:
            continue
        if not is_conv(call.op) or isinstance(call.op, keras.layers.Dense):
            continue
        full, full_values = _advance(walk, call.name)
        pairs = _outputs(call, values, full, full_values)
        absorb(call.op, solve(pairs, _channels(call, kept[call.name])))
        done.add(id(call.op))
    return len(done)


def _channels(call: Call, kept: np.ndarray) -> np.ndarray:
    """The teacher's channels that a convolution makes."""
    # All of them again where fusing has multiplied the adapter behind it into it.
    return kept if call.op.filters == len(kept) else np.arange(call.op.filters)


def _advance(walk: Iterator[tuple[Call, Values]], name: str) -> tuple[Call, Values]:
    return next((call, values) for call, values in walk if call.name == name)


def _outputs(
    call: Call, values: Values, full: Call, full_values: Values
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What both convolutions make before their activations, `[places, channels]`, in batches."""
    x, full_x = values[call.input], full_values[full.input]
    for rows in batch_slices(x, full_x):
        made, wanted = _linear(call.op, x[rows]), _linear(full.op, full_x[rows])
        yield made.reshape(-1, made.shape[-1]), wanted.reshape(-1, wanted.shape[-1])


def _linear(layer: Any, x: np.ndarray) -> np.ndarray:
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return np.asarray(layer(x), "float64")
    finally:
        layer.activation = activation


def solve(pairs: Iterator[tuple[np.ndarray, np.ndarray]], kept: np.ndarray) -> np.ndarray:
    """Solves the least squares of one 1x1 convolution.

    Args:
        pairs: the student's and the teacher's outputs, `[places, kept]` and `[places, channels]`.
        kept: the teacher's channels that the student has, `[kept]`.

    Returns:
        The matrix `[kept, kept]` of least norm among the best.
    """
    gram = np.zeros((len(kept), len(kept)))
    target = np.zeros_like(gram)
    for made, wanted in pairs:
        gram += made.T @ made
        target += made.T @ wanted[:, kept]
    return np.linalg.lstsq(gram, target, rcond=None)[0]


def absorb(layer: Any, matrix: np.ndarray) -> None:
    """Multiplies a 1x1 convolution into the convolution before it.

    Args:
        layer: a convolution of as many filters; changed in place, its bias too.
        matrix: `[filters, filters]`.
    """
    layer.set_weights([
        (weight.astype("float64") @ matrix).astype(weight.dtype) for weight in layer.get_weights()
    ])
