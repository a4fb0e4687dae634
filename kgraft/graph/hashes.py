"""Hashes by which work that goes on knows that its networks are still the same."""

import hashlib
import json
from typing import Any

import numpy as np
from keras import tree

from kgraft.graph.ir import Call, Graph, Ref


def graph_sha256(graph: Graph) -> str:
    """Hashes what a graph computes: its calls, their settings and its weights.

    Args:
        graph: names do not count, which Keras numbers anew each time that a model is made; weights
            do and other variables do not: a Dropout's random state differs between loads.
    """
    digest = _hashed_weights(graph)
    numbers = {graph.input: "0"}
    for call in graph.calls:
        digest.update(_described(call.renamed(numbers)).encode())
        numbers.update({value: str(len(numbers) + i) for i, value in enumerate(call.outputs)})
    return digest.hexdigest()


def _hashed_weights(graph: Graph) -> Any:
    digest = hashlib.sha256()
    for layer in graph.layers:
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest


def _described(call: Call) -> str:
    settings = {name: value for name, value in _settings(call.op).items() if name != "name"}
    given = tree.map_structure(_plain, (call.args, dict(call.kwargs)))
    return repr((
        type(call.op).__name__,
        json.dumps(settings, default=_plain, sort_keys=True),
        given,
    ))


def _plain(leaf: Any) -> Any:
    """Arrays by all their values; what else JSON does not know by its type: text may be cut."""
    if isinstance(leaf, Ref | str | int | float | bool | type(None)):
        return leaf
    if hasattr(leaf, "__array__"):
        values = np.ascontiguousarray(leaf)
        return f"{values.dtype} {values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"
    return type(leaf).__name__


def _settings(op: Any) -> dict[str, Any]:
    """A layer's or operation's settings; those of an operation may be all in its arguments."""
    try:
        return op.get_config()
    except NotImplementedError:
        return {}
