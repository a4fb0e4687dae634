"""Mixed views: two views in one, which a teacher can label though no class has such images."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kgraft.data.aligned import aligned_empty

_MIXED = 4  # keeps this use of the seed apart from the draw's, the views' and the training's
# The second view's share of the pixels or of the brightness; less would hardly be a mix.
_BLEND = (0.2, 0.8)
_AREA = (0.1, 0.9)
_AT_ONCE = 256


def add_mixed_views(views: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Adds views that are made of two of the views each, drawn at random.

    Half are blends (mixup, arXiv 1710.09412), half have a rectangle of the second view pasted into
    the first (CutMix, arXiv 1905.04899). Both were made for labels; here the teacher says what
    there is to see, so that a few images become as many different inputs as wanted. Mixed view `m`
    depends on `(seed, m)` and the views alone.

    Args:
        views: uint8 `[n, height, width, channels]`.
        count: how many to add; 0 gives the views themselves back.
        seed: of the mixes.

    Returns:
        uint8 `[n + count, height, width, channels]`: the views, then the mixed ones; an
        `aligned_empty`.
    """
    if not count:
        return views
    out = aligned_empty((len(views) + count, *views.shape[1:]), np.uint8)
    out[: len(views)] = views

    def fill(first: int) -> None:
        for number in range(first, min(first + _AT_ONCE, count)):
            rng = np.random.default_rng([seed, _MIXED, number])
            one, two = views[rng.integers(0, len(views), 2)]
            mix = _blend if rng.random() < 0.5 else _paste
            mix(one, two, rng, out[len(views) + number])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(0, count, _AT_ONCE)):
            pass
    return out


def _blend(one: np.ndarray, two: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
    share = np.float32(rng.uniform(*_BLEND))
    out[:] = np.rint((1 - share) * one + share * two)


def _paste(one: np.ndarray, two: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
    height, width = one.shape[:2]
    side = np.sqrt(rng.uniform(*_AREA))
    tall, wide = max(1, round(height * side)), max(1, round(width * side))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    out[:] = one
    out[top : top + tall, left : left + wide] = two[top : top + tall, left : left + wide]
