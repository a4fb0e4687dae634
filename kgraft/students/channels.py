"""Which channels of a block belong together: what must be thinned in step.

Every value's last axis is described by segments. A segment stands for all channels of one group; an
addition makes two groups one, a concatenation puts segments in a row, flattening repeats them. A
layer this module does not know locks the groups it touches: they keep their full width, so that any
network can be thinned as far as it is understood.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers as kl
from keras import tree

from kgraft.graph import Call, Graph, Ref

Segments = tuple[int, ...]

# Layers that treat each channel alone and leave the number of channels as it is.
_CHANNELWISE = (
    kl.Activation,
    kl.ReLU,
    kl.LeakyReLU,
    kl.ELU,
    kl.BatchNormalization,
    kl.MaxPooling2D,
    kl.AveragePooling2D,
    kl.GlobalAveragePooling2D,
    kl.GlobalMaxPooling2D,
    kl.ZeroPadding2D,
    kl.Cropping2D,
    kl.UpSampling2D,
    kl.Dropout,
    kl.SpatialDropout2D,
    kl.GaussianNoise,
    kl.Identity,
)
_CHANNELWISE_ACTIVATIONS = frozenset([
    "linear",
    "relu",
    "relu6",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "silu",
    "swish",
    "hard_silu",
    "hard_swish",
    "gelu",
    "elu",
    "selu",
    "leaky_relu",
    "softplus",
    "mish",
    "exponential",
])
_ELEMENTWISE = (kl.Add, kl.Subtract, kl.Multiply, kl.Average, kl.Maximum, kl.Minimum)
# Operations of `keras.ops`, of `keras.activations` and of operators on symbolic tensors, by name.
_ELEMENTWISE_OPS = frozenset([
    "Add",
    "Subtract",
    "Multiply",
    "Divide",
    "TrueDivide",
    "Maximum",
    "Minimum",
])
_CHANNELWISE_OPS = frozenset([
    "Relu",
    "Relu6",
    "ReLU",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Softplus",
    "Sigmoid",
    "Silu",
    "Tanh",
    "HardSigmoid",
    "HardSilu",
    "Gelu",
])


@dataclasses.dataclass
class ChannelGroups:
    """The groups of one block.

    Attributes:
        segments: for each value, the groups along its last axis.
        sizes: channels of each group.
        locked: groups that keep their full width.
    """

    segments: dict[str, Segments] = dataclasses.field(default_factory=dict)
    sizes: dict[int, int] = dataclasses.field(default_factory=dict)
    locked: set[int] = dataclasses.field(default_factory=set)
    _parents: dict[int, int] = dataclasses.field(default_factory=dict)

    def find(self, group: int) -> int:
        """Returns the group that `group` has become by unions."""
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def of(self, value: str) -> Segments:
        """Returns the groups along the last axis of a value."""
        return tuple(self.find(group) for group in self.segments[value])

    def is_locked(self, group: int) -> bool:
        """Returns whether the group keeps its full width."""
        return self.find(group) in {self.find(g) for g in self.locked}

    def new(self, size: int, *, locked: bool = False) -> Segments:
        """Makes a group of `size` channels."""
        group = len(self._parents)
        self._parents[group] = group
        self.sizes[group] = size
        if locked:
            self.locked.add(group)
        return (group,)

    def lock(self, segments: Segments) -> None:
        """Keeps the full width of all groups in `segments`."""
        self.locked.update(segments)

    def unite(self, one: Segments, other: Segments) -> None:
        """Makes the groups of two values of equal width one, pair by pair; locks what differs."""
        sizes = [[self.sizes[self.find(g)] for g in segments] for segments in (one, other)]
        if sizes[0] != sizes[1]:
            self.lock(one)
            self.lock(other)
            return
        for a, b in zip(one, other, strict=True):
            self._parents[self.find(b)] = self.find(a)

    def width(self, value: str) -> int:
        """Returns the number of channels of a value in the full block."""
        return sum(self.sizes[group] for group in self.of(value))

    def kept(self, value: str, plan: Mapping[int, np.ndarray]) -> np.ndarray:
        """Returns which of a value's channels stay under a plan of kept channels by group."""
        start, kept = 0, []
        for group in self.of(value):
            size = self.sizes[group]
            kept.append(start + plan.get(group, np.arange(size)))
            start += size
        return np.concatenate(kept)


def channel_groups(graph: Graph) -> ChannelGroups:
    """Finds the channel groups of a block.

    Args:
        graph: the block, `[batch, ..., channels]` all through.

    Returns:
        The groups.
    """
    groups = ChannelGroups()
    groups.segments[graph.input] = groups.new(graph.input_shape[-1] or 1)
    first_calls: dict[int, Call] = {}
    for call in graph.calls:
        rule = _rule(call)
        for value in call.outputs:
            one = dataclasses.replace(call, outputs=(value,))
            groups.segments[value] = rule(one, graph, groups)
        # A shared layer has one set of weights, so all its uses are thinned alike.
        first = first_calls.setdefault(id(call.op), call)
        if first is not call and isinstance(call.op, keras.layers.Layer) and call.op.weights:
            groups.unite(groups.segments[first.inputs[0]], groups.segments[call.inputs[0]])
            groups.unite(groups.segments[first.output], groups.segments[call.output])
    return groups


def mixes_channels(op: Any) -> bool:
    """Returns whether the op mixes all channels of its input into new ones, place by place."""
    if isinstance(op, kl.Conv2D):
        return op.groups == 1 and op.data_format == "channels_last"
    return isinstance(op, kl.Dense)


def is_plain_conv(op: Any) -> bool:
    """Returns whether the op mixes channels by its kernel as it is.

    A layer derived from a convolution or dense layer may do anything with its kernel.
    """
    return type(op) in (kl.Conv2D, kl.Dense) and mixes_channels(op)


def is_conv(op: Any) -> bool:
    """Returns whether the op mixes channels by nothing but a kernel and a bias."""
    return is_plain_conv(op) and not _has_weights_in_activation(op)


def is_depthwise(op: Any) -> bool:
    """Returns whether the op filters each channel alone."""
    return (
        type(op) is kl.DepthwiseConv2D
        and not _has_weights_in_activation(op)
        and op.depth_multiplier == 1
        and op.data_format == "channels_last"
    )


def _has_weights_in_activation(op: Any) -> bool:
    """Whether its activation is a layer such as `PReLU`, whose weights it has as its own."""
    return bool(getattr(getattr(op, "activation", None), "weights", None))


_Rule = Callable[[Call, Graph, ChannelGroups], Segments]


def _rule(call: Call) -> _Rule:
    op = call.op
    if not _has_channelwise_activation(op):
        return _lock
    if is_conv(op):
        return _new
    if is_depthwise(op) or _is_channelwise(op):
        return _same
    if isinstance(op, _ELEMENTWISE) or _is_op(op, _ELEMENTWISE_OPS):
        return _elementwise
    if isinstance(op, kl.Concatenate):
        return _concatenate
    if isinstance(op, kl.Flatten):
        return _flatten
    if isinstance(op, kl.Reshape):
        return _reshape
    return _lock


def _has_channelwise_activation(op: Any) -> bool:
    activation = getattr(op, "activation", None)
    if isinstance(activation, kl.Layer):
        return isinstance(activation, _CHANNELWISE) and _has_channelwise_activation(activation)
    return getattr(activation, "__name__", "linear") in _CHANNELWISE_ACTIVATIONS


def _is_op(op: Any, names: frozenset[str]) -> bool:
    return not isinstance(op, keras.layers.Layer) and type(op).__name__ in names


def _is_channelwise(op: Any) -> bool:
    if isinstance(op, kl.BatchNormalization):
        axis = op.axis if isinstance(op.axis, int) else op.axis[0]
        return axis == -1 or (op.input_spec is not None and axis == op.input_spec.ndim - 1)
    if isinstance(op, kl.Rescaling):
        return np.ndim(op.scale) == 0 and np.ndim(op.offset) == 0
    return isinstance(op, _CHANNELWISE) or _is_op(op, _CHANNELWISE_OPS)


def _new(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    return groups.new(graph.shapes[call.output][-1] or 1)


def _same(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    return groups.segments[call.inputs[0]]


def _lock(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    for value in call.inputs:
        groups.lock(groups.segments[value])
    shape = graph.shapes[call.output]
    return groups.new((shape[-1] if shape else None) or 1, locked=True)


def _elementwise(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    width = graph.shapes[call.output][-1]
    full = [v for v in call.inputs if graph.shapes[v][-1] == width]
    if any(not np.isscalar(leaf) for leaf in _constants(call)) or not full:
        return _lock(call, graph, groups)
    first = groups.segments[full[0]]
    for value in full[1:]:
        groups.unite(first, groups.segments[value])
    return first


def _constants(call: Call) -> list[Any]:
    """Arrays and numbers among the arguments, such as a fixed per-channel scale."""
    leaves = tree.flatten((call.args, dict(call.kwargs)))
    return [leaf for leaf in leaves if not isinstance(leaf, (Ref, str, bool, type(None)))]


def _concatenate(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    axis = call.op.axis
    if axis not in (-1, len(graph.shapes[call.output]) - 1):
        return _lock(call, graph, groups)
    return tuple(g for value in call.inputs for g in groups.segments[value])


def _flatten(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    shape = graph.shapes[call.input]
    if None in shape[1:]:
        return _lock(call, graph, groups)
    places = int(np.prod(shape[1:-1], dtype=int))
    return groups.segments[call.input] * places


def _reshape(call: Call, graph: Graph, groups: ChannelGroups) -> Segments:
    before, after = graph.shapes[call.input], graph.shapes[call.output]
    # Only dimensions of size 1 may come and go: `[batch, 1, 1, channels]` to `[batch, channels]`.
    if before[-1] == after[-1] and _ones(before) and _ones(after):
        return groups.segments[call.input]
    return _lock(call, graph, groups)


def _ones(shape: tuple[int | None, ...]) -> bool:
    return all(dim == 1 for dim in shape[1:-1])
