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
    sizes = [score.size for score in scores]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    gone = np.argsort(np.concatenate(scores), kind="stable")[: round(sparsity * len(owners))]
    counts = np.minimum(np.bincount(owners[gone], minlength=len(sizes)), np.subtract(sizes, 1))
    return dict(zip(kernels, (counts / sizes).tolist(), strict=True))


def _scores(kernel: np.ndarray) -> np.ndarray:
    """Scores of a kernel's weights, from the smallest weight to the largest."""
    squares = np.sort(np.square(kernel, dtype=np.float64), axis=None)
    no_smaller = np.cumsum(squares[::-1])[::-1]
    # A kernel of zeros has nothing to lose.
    return np.divide(squares, no_smaller, out=np.zeros_like(squares), where=no_smaller > 0)
