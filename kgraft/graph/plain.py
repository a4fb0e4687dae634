"""Layers that are others in one, written as those: what is thinned and folded are plain layers."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from keras import layers as kl

from kgraft.graph.build import clone_built
from kgraft.graph.ir import Call, Graph, Ref, Shape


def with_plain_layers(graph: Graph) -> Graph:
    """Writes separable convolutions and spectrally normalised layers as plain ones.

    A `SeparableConv2D` becomes a `DepthwiseConv2D` and a 1x1 `Conv2D`, with copies of its weights.
    The 1x1 keeps the name, the depthwise has `_depthwise` behind it, so that cuts at the layer
    still hold. A `SpectralNormalization` normalises the kernel of the layer inside it in place when
    it trains, and at inference runs that layer as it is: the layer itself takes its place.

    Args:
        graph: a traced model; neither it nor its layers change.

    Returns:
        The graph of the same function, up to rounding. Shared layers stay shared.
    """
    taken = {value for call in graph.calls for value in (call.name, *call.outputs)}
    parts: dict[int, tuple[kl.Layer, kl.Layer]] = {}
    calls: list[Call] = []
    shapes = dict(graph.shapes)
    for call in graph.calls:
        if _is_separable(call):
            if id(call.op) not in parts:
                parts[id(call.op)] = _split(call.op, graph.shapes[call.input])
            name = _depthwise_name(call.name, taken)
            depthwise, pointwise = _in_a_row(call, name, parts[id(call.op)])
            shapes[name] = tuple(depthwise.op.compute_output_shape(graph.shapes[call.input]))
            calls += [depthwise, pointwise]
        else:
            calls.append(_unwrapped(call))
    return dataclasses.replace(graph, calls=tuple(calls), shapes=shapes)


def _is_separable(call: Call) -> bool:
    # A layer derived from it may do anything with its kernels.
    if type(call.op) is not kl.SeparableConv2D or call.op.data_format != "channels_last":
        return False
    return not getattr(call.op.activation, "weights", ())


def _depthwise_name(name: str, taken: set[str]) -> str:
    """`NAME_depthwise`, with the number of a shared layer's use still behind it."""
    base, use, number = name.partition("#")
    found, count = f"{base}_depthwise{use}{number}", 2
    while found in taken:
        found, count = f"{base}_depthwise_{count}{use}{number}", count + 1
    taken.add(found)
    return found


def _in_a_row(call: Call, name: str, ops: tuple[Any, Any]) -> Iterator[Call]:
    yield Call(name, ops[0], (Ref(call.input),), {}, (name,))
    yield dataclasses.replace(call, op=ops[1], args=(Ref(name),), kwargs={})


def _split(op: kl.SeparableConv2D, shape: Shape) -> tuple[kl.Layer, kl.Layer]:
    """The two convolutions of a separable one, built and with its weights."""
    depthwise = kl.DepthwiseConv2D(
        op.kernel_size,
        strides=op.strides,
        padding=op.padding,
        dilation_rate=op.dilation_rate,
        depth_multiplier=op.depth_multiplier,
        data_format="channels_last",
        use_bias=False,
        depthwise_initializer=op.depthwise_initializer,
        depthwise_regularizer=op.depthwise_regularizer,
        depthwise_constraint=op.depthwise_constraint,
        name=f"{op.name}_depthwise",
        dtype=op.dtype_policy,
        trainable=op.trainable,
    )
    pointwise = kl.Conv2D(
        op.filters,
        1,
        data_format="channels_last",
        activation=op.activation,
        use_bias=op.use_bias,
        kernel_initializer=op.pointwise_initializer,
        kernel_regularizer=op.pointwise_regularizer,
        kernel_constraint=op.pointwise_constraint,
        bias_initializer=op.bias_initializer,
        bias_regularizer=op.bias_regularizer,
        bias_constraint=op.bias_constraint,
        activity_regularizer=op.activity_regularizer,
        name=op.name,
        dtype=op.dtype_policy,
        trainable=op.trainable,
    )
    depthwise = clone_built(depthwise, shape)
    pointwise = clone_built(pointwise, depthwise.compute_output_shape(shape))
    kernel, *rest = op.get_weights()
    depthwise.set_weights([kernel])
    pointwise.set_weights(rest)
    return depthwise, pointwise


def _unwrapped(call: Call) -> Call:
    op = call.op
    # The wrapper gives back what came in; a layer of another precision would not.
    if type(op) is not kl.SpectralNormalization or op.layer.compute_dtype != op.compute_dtype:
        return call
    kwargs = {name: value for name, value in call.kwargs.items() if name == "training"}
    return dataclasses.replace(call, op=op.layer, args=(Ref(call.input),), kwargs=kwargs)
