"""Networks drawn at random, and cuts found by trying."""

import keras
from hypothesis import strategies as st
from keras import layers as kl
from small_models import conv, conv_norm_relu, trained

from kgraft.graph import Graph

SHAPE = (8, 8, 3)
WIDTH = 4


def _residual(x, name):
    return kl.Add(name=name)([
        x,
        conv(conv_norm_relu(x, WIDTH, name=f"{name}_a"), WIDTH, name=f"{name}_b"),
    ])


def _branches(x, name):
    parts = [conv(x, 2, 1, name=f"{name}_a"), conv(x, 2, name=f"{name}_b", activation="relu")]
    return kl.Concatenate(name=name)(parts)


def _filtered(x, name):
    x = kl.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_filter")(x)
    return kl.BatchNormalization(name=name)(x)


def _gated(x, name):
    gate = kl.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    return kl.Multiply(name=name)([
        x,
        conv(gate, WIDTH, 1, name=f"{name}_gate", activation="sigmoid"),
    ])


def _nested(x, name):
    inside = keras.Input((None, None, WIDTH))
    return keras.Model(inside, _residual(inside, "inner"), name=name)(x)


def _shared(x, name):
    layer = kl.Conv2D(WIDTH, 3, padding="same", name=name)
    return kl.ReLU(name=f"{name}_out")(layer(layer(x)))


PIECES = {
    "conv": lambda x, name: conv(x, WIDTH, name=name, activation="relu"),
    "norm": lambda x, name: conv_norm_relu(x, WIDTH, name=name),
    "pool": lambda x, name: kl.AveragePooling2D(2, 1, padding="same", name=name)(x),
    "residual": _residual,
    "branches": _branches,
    "filtered": _filtered,
    "gated": _gated,
    "nested": _nested,
    "shared": _shared,
}


def drawn_model(pieces: list[str]) -> keras.Model:
    """A network of the named pieces between a stem and a head."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = conv(image, WIDTH, name="stem")
    for index, piece in enumerate(pieces):
        x = PIECES[piece](x, f"{piece}{index}")
    x = kl.Flatten(name="flat")(x)
    return trained(keras.Model(image, kl.Dense(3, name="logits")(x)))


networks = st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=4)


def cuts_by_trying(graph: Graph) -> set[str]:
    """Values without which the output cannot be reached from the input."""
    values = {value for call in graph.calls for value in call.outputs} - {graph.output}
    return {value for value in values if not _reaches(graph, without=value)}


def _reaches(graph: Graph, without: str) -> bool:
    reached = {graph.input}
    for call in graph.calls:
        if reached.intersection(call.inputs):
            reached.update(value for value in call.outputs if value != without)
    return graph.output in reached
