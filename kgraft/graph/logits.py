"""Logits of a teacher that puts out probabilities, and two logits of one with a single output."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kgraft.errors import KgraftError
from kgraft.graph.build import clone_op
from kgraft.graph.ir import Call, Graph, Shape, concat, prune
from kgraft.graph.trace import trace_model

# Layers that only rearrange, so that a softmax may stand in front of them.
_REARRANGING = (kl.Reshape, kl.Flatten, kl.Identity, kl.Dropout)
# What a probability counts as at least, so that it has a logarithm.
_LEAST = 1e-7
# Added to both of two logits, c - z/2 and c + z/2, which changes neither their softmax nor their
# order. The paper's loss compares directions: without it theirs is the sign of z and nothing else,
# with it an angle of 45 degrees plus atan(z / 2c), which moves with z up to about 2c. Where z is 8
# the sigmoid is within 0.0004 of 1; a larger c would make all directions alike.
_MIDDLE = 4.0


def logits_graph(graph: Graph, outputs: str = "auto") -> tuple[Graph, str]:
    """Returns the graph that ends in logits.

    A softmax at the end, as a layer of its own or as the activation of the last layer, is taken
    off; the teacher's own layers are left as they are. What ends in something else is taken for
    logits under `auto` if a random image gives an output that is no probability distribution.

    A single output is that of a binary classifier: a sigmoid is taken off likewise, and the logit
    behind it becomes two, whose softmax is the sigmoid of minus and plus the logit.

    Args:
        graph: the whole teacher, `[batch, ...]` to `[batch, classes]`.
        outputs: `auto`, `logits` (take the output as it is) or `probabilities` (take the softmax
            off; without one, put the logarithm behind).

    Returns:
        The graph, to at least two logits, and one phrase on what was done.

    Raises:
        KgraftError: the output is not `[batch, classes]`, or under `auto` it is several sigmoids',
            or looks like probabilities whose logits cannot be recovered exactly.
        KgraftError: a single output is not a sigmoid's nor declared a logit, or is both.
    """
    if len(graph.output_shape) != 2 or not graph.output_shape[1]:
        raise KgraftError(
            f"expected a teacher whose output is [batch, classes]; got {graph.output_shape}"
        )
    if graph.output_shape[1] == 1:
        return _two_logits(graph, outputs)
    if outputs == "logits":
        return graph, "the output is taken as logits, as told"
    taken = _taken_off(graph, "softmax")
    if taken is not None:
        return taken
    if outputs == "probabilities":
        return _with_log(graph), "logits are the logarithm of the probabilities"
    last = _last_computing_call(graph)
    if last is not None and _is_sigmoid(last.op):
        raise KgraftError(
            f"the teacher ends in a sigmoid ({last.name!r}), as one that names several classes an "
            "image does: expected one that names one class; give --teacher_outputs=logits to take "
            "what it puts out as it is, by which the largest is the class"
        )
    if _looks_like_probabilities(graph):
        raise KgraftError(
            f"the teacher's output (made by {last.name if last else graph.input!r}) looks like "
            "probabilities, but no softmax was found to take off: give --teacher_outputs="
            "probabilities (their logarithm is used) or --teacher_outputs=logits"
        )
    return graph, "the output is logits"


def _two_logits(graph: Graph, outputs: str) -> tuple[Graph, str]:
    """Returns the graph of two logits, `[batch, 2]`, of one with a single output."""
    taken = _taken_off(graph, "sigmoid")
    sign = "the logit of a binary classifier, whose sign is the class"
    if outputs == "logits" and taken is not None:
        raise KgraftError(
            f"--teacher_outputs=logits: expected one output that is {sign}; the teacher's is never "
            "below 0, being a sigmoid's, which --teacher_outputs=auto takes off"
        )
    if outputs == "logits":
        taken = graph, "the output is taken as a logit, as told"
    if taken is None:
        raise KgraftError(
            "the teacher has one output, and no sigmoid was found to take off: expected one for "
            "each class, or a sigmoid's, as it may be a regression; give --teacher_outputs=logits "
            f"if it is {sign}"
        )
    made = f"{_MIDDLE:g} - z/2 and {_MIDDLE:g} + z/2"
    return _doubled(taken[0]), f"{taken[1]}, and of the logit z made two, {made}"


def _doubled(graph: Graph) -> Graph:
    """Returns the graph of two logits of one that ends in the logit z, `[batch, 1]`.

    A dense layer at the end becomes one of two units, the head that any classifier has; behind
    anything else comes a layer of its own.
    """
    halves = np.array([-0.5, 0.5])
    last = graph.producer(graph.output)
    if last is not None and type(last.op) is kl.Dense and _activation_name(last.op) == "linear":
        kernel, *bias = last.op.get_weights()
        pair = clone_op(last.op, units=2, use_bias=True)
        pair.build(graph.shapes[last.input])
        pair.set_weights([kernel * halves, _MIDDLE + (bias[0] if bias else 0) * halves])
        shapes = {**graph.shapes, graph.output: (*graph.output_shape[:1], 2)}
        whole = dataclasses.replace(graph.with_op(last.name, pair), shapes=shapes)
    else:
        logit = keras.Input((1,))
        # At the float32 that logits are of under any policy.
        pair = kl.Dense(2, name="two_logits", dtype="float32")
        whole = concat((graph, trace_model(keras.Model(logit, pair(logit)))))
        pair.set_weights([halves[None], np.full(2, _MIDDLE)])
    pair.trainable = False
    return whole


def closing_calls(graph: Graph) -> tuple[Call, ...]:
    """Returns the calls that the precision of the output hangs on.

    Args:
        graph: any piece of a network.

    Returns:
        From the last one back: what only rearranges and operations on one value, which compute in
        the type that they are given, and the first layer before them that computes.
    """
    found: list[Call] = []
    call = graph.producer(graph.output)
    while call is not None:
        found.append(call)
        passes = _rearranges(call.op) or not isinstance(call.op, kl.Layer)
        if not passes or len(call.inputs) != 1:
            break
        call = graph.producer(call.input)
    return tuple(found)


def _last_computing_call(graph: Graph) -> Call | None:
    call = graph.producer(graph.output)
    while call is not None and _rearranges(call.op):
        call = graph.producer(call.input)
    return call


def _rearranges(op: Any) -> bool:
    linear = isinstance(op, kl.Activation) and _activation_name(op) == "linear"
    return isinstance(op, _REARRANGING) or linear


def _activation_name(op: Any) -> str | None:
    return getattr(getattr(op, "activation", None), "__name__", None)


def _taken_off(graph: Graph, activation: str) -> tuple[Graph, str] | None:
    """Returns the graph without the activation at its end, and a phrase that says so.

    None where it ends in something else, or in a user's own layer that cannot be made without.
    """
    last = _last_computing_call(graph)
    if last is None:
        return None
    if _is(activation, last.op):
        return prune(graph.without(last.name)), f"{activation} {last.name!r} taken off"
    if _activation_name(last.op) == activation and len(last.inputs) == 1:
        twin = _linear_twin(last.op, graph.shapes[last.input])
        if twin is not None:
            return graph.with_op(last.name, twin), f"{activation} of {last.name!r} taken off"
    return None


def _is(activation: str, op: Any) -> bool:
    """Whether a layer or operation is this activation (`softmax` or `sigmoid`) and nothing else."""
    if isinstance(op, kl.Activation):
        return _activation_name(op) == activation
    if isinstance(op, kl.Layer):
        return activation == "softmax" and isinstance(op, kl.Softmax)
    return type(op).__name__.lower() == activation


def _is_sigmoid(op: Any) -> bool:
    return _activation_name(op) == "sigmoid" or type(op).__name__ == "Sigmoid"


def _linear_twin(layer: Any, shape: Shape) -> Any:
    """A layer of the same weights without the activation; the teacher's own stays as it is.

    None for a user's own layer that cannot be made without.
    """
    try:
        twin = clone_op(layer, activation="linear")
        twin.build(shape)
        twin.set_weights(layer.get_weights())
    except Exception:  # It may raise anything.
        return None
    twin.trainable = False
    return twin


def _with_log(graph: Graph) -> Graph:
    # Operations of Keras, not a layer of ours: a student is to load without kgraft.
    probabilities = keras.Input(graph.output_shape[1:])
    log = keras.ops.log(keras.ops.maximum(probabilities, _LEAST))
    return concat((graph, trace_model(keras.Model(probabilities, log))))


def _looks_like_probabilities(graph: Graph) -> bool:
    shape = [dim or 64 for dim in graph.input_shape[1:]]
    images = np.random.default_rng(0).uniform(0, 255, [2, *shape]).astype("float32")
    outputs = np.asarray(graph(images))
    return bool(np.all(outputs >= 0) and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))
