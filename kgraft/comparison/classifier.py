"""Where a network's features end and its classifier begins."""

from kgraft.graph import Graph
from kgraft.students.channels import mixes_channels


def feature_values(graph: Graph) -> frozenset[str]:
    """Finds the values behind which a convolution or dense layer still follows.

    A classifier may be a convolution, before pooling or behind it: what it makes are logits by
    place, not features.

    Args:
        graph: the whole network.

    Returns:
        Names of values; those that only classifiers make are not among them.
    """
    found: set[str] = set()
    for call in reversed(graph.calls):
        if mixes_channels(call.op) or not found.isdisjoint(call.outputs):
            found.update(call.inputs)
    return frozenset(found)
