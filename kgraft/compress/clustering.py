"""Weight clustering: each kernel is left a handful of values."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kgraft.compress.legacy import load_tf_keras, load_tfmot
from kgraft.compress.training import Wrapped
from kgraft.compress_config import CompressConfig
from kgraft.grafting import Remaining

_KINDS = ("Conv2D", "Dense")
_WHOLE = ("Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D")


def wrap_clustering(plain: Any, config: CompressConfig, done: tuple[str, ...]) -> Wrapped:
    """Wraps a model for clustering.

    Args:
        plain: a Keras 2 model, used up.
        config: how many values a kernel may have.
        done: techniques that went before; zeros of a pruned kernel stay.

    Returns:
        The wrapped model; layers that are not clustered are named.
    """
    tfmot, library = load_tfmot(), load_tf_keras()
    clustering = tfmot.clustering.keras
    zeros = {layer.name: _zeros(layer) for layer in plain.layers} if "prune" in done else {}
    left = clustering_left(plain, config, zeros)
    names = {layer.name for layer in left}
    settings = {
        "number_of_clusters": config.clusters,
        "cluster_centroids_init": clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
    }

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in _KINDS or layer.name in names:
            return layer
        if zeros.get(layer.name):
            return _cluster_but_zeros(layer, **settings)
        return clustering.cluster_weights(layer, **settings)

    model = library.models.clone_model(plain, clone_function=wrap)
    clustered = [layer for layer in model.layers if hasattr(layer, "cluster_centroids")]
    return Wrapped(
        model,
        layers=tuple(layer.layer.name for layer in clustered),
        left=left,
        # Nothing would hold the zeros of these.
        frozen=tuple(name for name in names if zeros.get(name)),
        strip=lambda: clustering.strip_clustering(model),
    )


def _cluster_but_zeros(layer: Any, **settings: Any) -> Any:
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    return cluster.cluster_weights(layer, preserve_sparsity=True, **settings)


def clustering_left(
    plain: Any, config: CompressConfig, zeros: Mapping[str, int]
) -> tuple[Remaining, ...]:
    """Names the layers whose kernels clustering leaves as they are, and why.

    Args:
        plain: a Keras 2 model.
        config: how many values a kernel may have.
        zeros: how many weights of a kernel pruning has made zero, by the layer's name.
    """
    reasons = {
        layer.name: _why_not(layer, config.clusters, zeros.get(layer.name, 0))
        for layer in plain.layers
    }
    return tuple(Remaining(name, why) for name, why in reasons.items() if why)


def _zeros(layer: Any) -> int:
    """How many weights of a layer's kernel are zero; 0 for a layer without one."""
    if type(layer).__name__ not in _WHOLE:
        return 0
    return sum(int(np.sum(w == 0)) for w in layer.get_weights() if w.ndim > 1)


def _why_not(layer: Any, clusters: int, zeros: int) -> str:
    """Why a layer with a kernel is not clustered; empty where it is, or has none."""
    kind = type(layer).__name__
    if kind in _WHOLE and kind not in _KINDS:
        return f"clustering is for {' and '.join(_KINDS)}; it is a {kind}"
    if kind not in _KINDS:
        return ""
    size = int(np.prod(layer.kernel.shape))
    # The zeros are one value of their own; the others are found among the weights that are left.
    if zeros and size - zeros < clusters:
        return f"pruning leaves its kernel fewer than --clusters={clusters} weights"
    if size <= clusters:
        return f"its kernel has no more than --clusters={clusters} weights"
    return ""
