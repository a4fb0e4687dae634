"""The learning rate of every update."""

import math


def one_cycle(step: int, *, total: int, peak: float, warmup: float) -> float:
    """Returns the learning rate of one update: a straight rise, then half a cosine to zero.

    After "Super-Convergence" (arXiv 1708.07120), with the cosine that later replaced its lines.

    Args:
        step: the update, from 0.
        total: updates in all.
        peak: the highest rate.
        warmup: part of `total` over which the rate rises, in 0..1.

    Returns:
        A rate above 0 and at most `peak`.

    Raises:
        ValueError: the step is not within 0..total-1.
    """
    if not 0 <= step < total:
        raise ValueError(f"step must be within 0..{total - 1}; got {step}")
    rise = warmup * total
    # The middle of the update stands for it, so that neither the first nor the last rate is zero.
    at = step + 0.5
    if at < rise:
        return peak * at / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (at - rise) / (total - rise)))
