"""The feature term of the third stage: activations held to those of the student before it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from kgraft.compress.bridge import layer_names, to_tf_keras
from kgraft.compress.legacy import load_tf_keras
from kgraft.graph import read_cuts, trace_model, without_training_layers


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Activations of the fused student that compressed ones are held to.

    A student of few images learns more from what happens inside than from logits alone, and the
    student before compression has the shapes of the one after.

    Attributes:
        names: layers whose outputs are compared.
        reference: a Keras 2 model, image to a list of these outputs and the logits.
        weight: weight of the mean over the layers, beside the loss on logits.
    """

    names: tuple[str, ...]
    reference: Any
    weight: float

    @classmethod
    def of(cls, student: keras.Model, model: Any, weight: float) -> "Features | None":
        """Chooses what is compared: cuts that a convolution, a dense layer or a pooling reads.

        Args:
            student: the fused student, a Keras 3 model; it does not change.
            model: the Keras 2 model to be trained, wrapped.
            weight: weight of the term.

        Returns:
            The term; None where its weight is 0 or the student has no such cut.
        """
        if not weight:
            return None
        plain = to_tf_keras(student)
        there = outputs_by_layer(model).keys() & outputs_by_layer(plain).keys()
        names = tuple(name for name in _read_cuts(student) if name in there)
        return cls(names, with_outputs(plain, names), weight) if names else None


def with_outputs(model: Any, names: Sequence[str]) -> Any:
    """Returns a Keras 2 model of the same layers that tells their outputs too.

    Args:
        model: image to logits, wrapped or not.
        names: layers, without their wrappers.

    Returns:
        Image to a list of these outputs and the logits.
    """
    found = outputs_by_layer(model)
    outputs = [*(found[name] for name in names), model.outputs[0]]
    return load_tf_keras().Model(model.inputs, outputs)


def outputs_by_layer(model: Any) -> dict[str, Any]:
    """Finds the output of each layer that a Keras 2 model uses once, by its name without wrapper.

    Args:
        model: a functional model, wrapped or not.
    """
    nodes: dict[str, list[Any]] = {}
    for depth in model._nodes_by_depth.values():
        for node in depth:
            layer = getattr(node.layer, "layer", node.layer)
            nodes.setdefault(layer.name, []).append(node)
    return {name: found[0].outputs for name, found in nodes.items() if len(found) == 1}


def _read_cuts(student: keras.Model) -> list[str]:
    """Names, as in Keras 2, of the layers whose output is a cut and the end of a feature."""
    traced = trace_model(student)
    # What is random in training is no measure.
    graph, names = without_training_layers(traced), layer_names(traced)
    wanted = set(read_cuts(graph))
    found: list[str] = []
    learned = False
    for call in graph.calls:
        # What is done to pixels before the first kernel stays as it is.
        learned = learned or (bool(getattr(call.op, "weights", ())) and not _fixed(call.op))
        if learned and call.output in wanted:
            found.append(names[call.output])
    return found


def _fixed(op: Any) -> bool:
    return type(op).__name__ == "Normalization"
