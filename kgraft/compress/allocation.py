"""How much of each kernel is pruned, so that all together are pruned as much as asked."""

from collections.abc import Mapping

import numpy as np


def lamp_sparsities(kernels: Mapping[str, np.ndarray], sparsity: float) -> dict[str, float]:
    """Shares out a sparsity among kernels by the layer-adaptive magnitude score.

    A weight's score is its square over the sum of the squares of those in its kernel that are no
    smaller: how much of what is left of the kernel would go with it. The weights of the lowest
    scores over all kernels go. Wide kernels are thinned most, small ones keep what they have, and
    the largest weight of each stays whatever is asked for.

    Source: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021.

    Args:
        kernels: arrays of any shape, by name.
        sparsity: share of all weights together that goes, 0..1.

    Returns:
        The share of each kernel that goes, at least 0 and less than 1, by name.
    """
    scores = [_scores(kernel) for kernel in kernels.values()]
    everything = np.concatenate(scores)
    left = round(sparsity * everything.size)
    bound = np.partition(everything, left)[left] if left < everything.size else np.inf
    del everything
    counts = [int(np.searchsorted(score, bound)) for score in scores]
    left -= sum(counts)
    for number, score in enumerate(scores):  # of those at the bound as many as are left
        tied = int(np.searchsorted(score, bound, side="right")) - counts[number]
        counts[number] += min(left, tied)
        left -= min(left, tied)
    return {
        name: min(count, kernel.size - 1) / kernel.size
        for (name, kernel), count in zip(kernels.items(), counts, strict=True)
    }


def _scores(kernel: np.ndarray) -> np.ndarray:
    """Scores of a kernel's weights, from the smallest weight to the largest."""
    squares = np.sort(np.square(kernel, dtype=np.float64), axis=None)
    no_smaller = np.cumsum(squares[::-1])[::-1]
    # A kernel of zeros has nothing to lose.
    scores = np.divide(squares, no_smaller, out=np.zeros_like(squares), where=no_smaller > 0)
    return scores.astype(np.float32)
