"""A block made thinner: the same wiring, fewer channels, weights copied where they stay."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kgraft.graph import (
    Block,
    Call,
    Graph,
    clone_graph,
    clone_op,
    rebuild,
    remember_few_batches,
    set_weights,
    synchronize_statistics,
    thawed,
    unconstrained,
    without_training_layers,
)
from kgraft.students.channels import ChannelGroups, is_conv, is_depthwise

Plan = Mapping[int, np.ndarray]


def fresh_pattern(block: Block) -> Graph:
    """Returns a block with layers of its own, all to be trained, to be made smaller.

    Its BatchNorms learn their statistics from batches, over all replicas.
    """
    full = thawed(clone_graph(without_training_layers(block.graph), trainable=True))
    synchronize_statistics(full)
    remember_few_batches(full)
    return full


def plan_widths(
    groups: ChannelGroups,
    graph: Graph,
    *,
    ratio: float,
    scores: Mapping[int, np.ndarray],
    entry_kept: np.ndarray | None,
    lock_exit: bool,
) -> dict[int, np.ndarray]:
    """Chooses the channels that stay, group by group.

    Args:
        groups: the channel groups of the block.
        graph: the block.
        ratio: share of each group's channels that stay.
        scores: what is lost without each channel, `[channels]` by group; the highest stay.
        entry_kept: channels of the block's input that come in; None for all.
        lock_exit: whether the block's output keeps its width (the logits do).

    Returns:
        For each thinned group the channels that stay, ascending. The input's group is in the plan
        only if the block can take a thin input.
    """
    if lock_exit:
        groups.lock(groups.of(graph.output))
    entry = set(groups.of(graph.input))
    plan: dict[int, np.ndarray] = {}
    for group in {g for value in groups.segments for g in groups.of(value)}:
        if groups.is_locked(group):
            continue
        if group in entry:
            if entry_kept is not None:
                plan[group] = entry_kept
            continue
        size = groups.sizes[group]
        keep = max(1, round(size * ratio))
        if keep < size:
            best = np.argsort(-scores.get(group, np.zeros(size)), kind="stable")[:keep]
            plan[group] = np.sort(best)
    return plan


def thin_graph(graph: Graph, groups: ChannelGroups, plan: Plan, *, copy: bool) -> Graph:
    """Builds the block with the planned channels.

    Args:
        graph: the full block; it does not change.
        groups: its channel groups.
        plan: channels that stay by group.
        copy: whether the weights of the channels that stay are copied; else they are fresh.

    Returns:
        A graph of the same calls with layers of its own, all trainable.
    """
    width_in = len(groups.kept(graph.input, plan))

    def new_op(call: Call) -> Any:
        overrides = unconstrained(call.op) | _overrides(call, groups, plan, graph)
        op = clone_op(call.op, **overrides)
        if isinstance(op, keras.layers.Layer):
            op.trainable = True
        return op

    shape = (*graph.input_shape[:-1], width_in)
    thin = rebuild(graph, new_op, input_shape=shape, blank=copy)
    for old, new in zip(graph.calls, thin.calls, strict=True):
        # Weights that are no initialiser's product, such as a Normalization's, are always copied.
        if not isinstance(new.op, keras.layers.Layer) or new.op is old.op or not new.op.weights:
            continue
        if copy or not new.op.trainable_weights:
            set_weights(new.op, _sliced(old, groups, plan))
    return thin


def _overrides(call: Call, groups: ChannelGroups, plan: Plan, graph: Graph) -> dict[str, Any]:
    width = len(groups.kept(call.output, plan))
    if width == graph.shapes[call.output][-1]:
        return {}
    if isinstance(call.op, kl.Dense):
        return {"units": width}
    if is_conv(call.op):
        return {"filters": width}
    if isinstance(call.op, kl.Reshape):
        return {"target_shape": (*call.op.target_shape[:-1], width)}
    return {}


def _sliced(call: Call, groups: ChannelGroups, plan: Plan) -> list[np.ndarray]:
    kept_in = groups.kept(call.inputs[0], plan)
    kept_out = groups.kept(call.output, plan)
    weights = call.op.get_weights()
    if is_conv(call.op):
        kernel = weights[0][..., kept_in, :][..., kept_out]
        return [kernel, *(bias[kept_out] for bias in weights[1:])]
    if is_depthwise(call.op):
        return [weights[0][:, :, kept_in, :], *(bias[kept_in] for bias in weights[1:])]
    if isinstance(call.op, kl.BatchNormalization):
        return [weight[kept_in] for weight in weights]
    # What is none of these was locked, so its width is the full one.
    return weights
