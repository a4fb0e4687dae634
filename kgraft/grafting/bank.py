"""The view bank: a fixed set of views and what the teacher says of each, computed once."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from kgraft.data.preprocess import preprocess as preprocess_images
from kgraft.errors import KgraftError
from kgraft.graph import Chain

# Pixels per teacher batch: about 60 images of 224x224, 256 of the small sizes.
_BATCH_PIXELS = 3_000_000
_LARGEST_BATCH = 256


def _default_batch(views: np.ndarray) -> int:
    pixels = views.shape[1] * views.shape[2]
    return max(8, min(_LARGEST_BATCH, _BATCH_PIXELS // pixels))


def _check_views(views: np.ndarray) -> None:
    if views.ndim != 4 or not len(views):
        raise KgraftError(f"views must be [n, height, width, channels], n > 0; got {views.shape}")


class ViewBank:
    """Views, the teacher's logits on them, and its activations at the cuts that fit in memory.

    Position 0 is the views, position p the exit of block p - 1, the last position the logits.

    Attributes:
        views: pixels 0..255, `[n, height, width, channels]`.
        logits: the teacher's, float32 `[n, classes]`.
        preprocess: name of what turns pixels into the teacher's input.
        cached: the positions in memory, in rising order, 0 and the last among them.
    """

    def __init__(
        self,
        views: np.ndarray,
        *,
        chain: Chain,
        preprocess: str = "none",
        cache_mb: float = 0,
        positions: Sequence[int] = (),
        batch: int | None = None,
    ) -> None:
        """Runs the teacher once over all views.

        Args:
            views: pixels 0..255, `[n, height, width, channels]`, uint8 for least memory.
            chain: the teacher.
            preprocess: name of what turns pixels into the teacher's input.
            cache_mb: memory for activations, in MiB; views and logits are not counted.
            positions: cut positions to cache, the most wanted first; those that do not fit are
                recomputed from the nearest earlier one when they are read.
            batch: views per run of the teacher; None for a size that suits the images.

        Raises:
            KgraftError: `views` is not a non-empty 4-d array.
            KgraftError: a position is not one of the chain's.
        """
        _check_views(views)
        self._chain = chain
        self.preprocess = preprocess
        self._batch = batch or _default_batch(views)
        self._last = len(chain.blocks)
        self._runs: dict[tuple[int, tuple[int, ...]], Callable[..., list[tf.Tensor]]] = {}
        with tf.device("CPU:0"):
            self._tensors = {0: tf.constant(views)}
        for position in positions:
            self._check_position(position)
        chosen = self._choose(positions, cache_mb)
        self._fill((*chosen, self._last))
        self.views = np.asarray(self._tensors[0])
        self.logits = np.asarray(self._tensors[self._last])
        self.cached = tuple(sorted(self._tensors))

    def __len__(self) -> int:
        """Returns how many views there are."""
        return len(self._tensors[0])

    def tensor(self, position: int) -> tf.Tensor:
        """Returns a cached position's tensor, in host memory.

        Args:
            position: one of `cached`.

        Returns:
            The tensor `[n, ...]`: uint8 or float32 pixels at position 0, float32 elsewhere.

        Raises:
            KgraftError: the position is not cached.
        """
        if position not in self._tensors:
            raise KgraftError(f"position {position} is not cached; cached: {self.cached}")
        return self._tensors[position]

    def nearest(self, position: int) -> tuple[int, np.ndarray]:
        """Finds where a run of the teacher to `position` can start.

        Args:
            position: a cut position.

        Returns:
            The nearest cached position at or before `position`, and its array `[n, ...]`.

        Raises:
            KgraftError: the position is not one of the chain's.
        """
        self._check_position(position)
        found = max(p for p in self._tensors if p <= position)
        return found, np.asarray(self._tensors[found])

    def activation(self, position: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Returns what the teacher has at a cut position.

        Args:
            position: a cut position; at 0 the preprocessed input.
            rows: numbers of the views to do; None for all.

        Returns:
            Float32 `[n, ...]`, computed from the nearest cached position where it is not cached.

        Raises:
            KgraftError: the position is not one of the chain's.
        """
        found, array = self.nearest(position)
        if found == position and position > 0:
            return array if rows is None else array[rows]
        return np.concatenate(list(self.activation_batches(position, rows)))

    def activation_batches(
        self, position: int, rows: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Yields what `activation` returns in batches, to bound memory.

        Args:
            position: a cut position; at 0 the preprocessed input.
            rows: numbers of the views to do; None for all.

        Yields:
            Float32 `[batch, ...]`.

        Raises:
            KgraftError: the position is not one of the chain's.
        """
        found, array = self.nearest(position)
        run = self._run_from(found, (position,))
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows)
        for first in range(0, len(chosen), self._batch):
            batch = tf.constant(array[chosen[first : first + self._batch]])
            yield run(batch)[0].numpy()

    def _check_position(self, position: int) -> None:
        if not 0 <= position <= self._last:
            raise KgraftError(f"a cut position must be 0..{self._last}; got {position}")

    def _run_from(self, start: int, stops: tuple[int, ...]) -> Callable[..., list[tf.Tensor]]:
        """Returns a compiled run of the teacher from one position, reporting at some others."""
        if (start, stops) not in self._runs:

            def run(x: tf.Tensor) -> list[tf.Tensor]:
                found = {start: preprocess_images(x, self.preprocess) if start == 0 else x}
                for position in range(start, max(stops)):
                    block = self._chain.blocks[position]
                    found[position + 1] = block.graph(found[position], training=False)
                return [tf.cast(found[stop], tf.float32) for stop in stops]

            shape = [None, *self._tensors[start].shape[1:]]
            spec = tf.TensorSpec(shape, self._tensors[start].dtype)
            function = tf.function(run, input_signature=[spec], autograph=False)
            self._runs[start, stops] = function.get_concrete_function()
        return self._runs[start, stops]

    def _choose(self, positions: Sequence[int], cache_mb: float) -> tuple[int, ...]:
        """Takes the wanted positions in order, each that still fits."""
        wanted = [p for p in dict.fromkeys(positions) if 0 < p < self._last]
        if not wanted or not cache_mb:
            return ()
        left = cache_mb * 2**20
        chosen = []
        outputs = self._run_from(0, tuple(wanted))(self._tensors[0][:1])
        for position, output in zip(wanted, outputs, strict=True):
            size = len(self) * int(tf.size(output)) * 4
            if size <= left:
                left -= size
                chosen.append(position)
        return tuple(chosen)

    def _fill(self, stops: tuple[int, ...]) -> None:
        """Runs the teacher over all views and keeps the positions asked for."""
        run = self._run_from(0, stops)
        arrays: dict[int, np.ndarray] = {}
        for first in range(0, len(self), self._batch):
            outputs = run(self._tensors[0][first : first + self._batch])
            for stop, output in zip(stops, outputs, strict=True):
                if stop not in arrays:
                    arrays[stop] = np.empty([len(self), *output.shape[1:]], np.float32)
                arrays[stop][first : first + self._batch] = output.numpy()
        with tf.device("CPU:0"):
            for stop in stops:
                # One at a time, the array let go after its copy, to keep the peak low.
                self._tensors[stop] = tf.constant(arrays.pop(stop))
