"""The view bank: a fixed set of views and what the teacher says of each, computed once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kgraft.data.preprocess import preprocess as preprocess_images
from kgraft.errors import KgraftError
from kgraft.grafting.cache import Cache, Room
from kgraft.grafting.rows import FileRows, MemoryRows, Source
from kgraft.graph import Chain

# Pixels per teacher batch: about 60 images of 224x224, 256 of the small sizes.
_BATCH_PIXELS = 3_000_000
_LARGEST_BATCH = 256


def default_batch(views: np.ndarray) -> int:
    """Returns how many views a model is run on at once: fewer of large images.

    Args:
        views: `[n, height, width, channels]`.
    """
    pixels = views.shape[1] * views.shape[2]
    return max(8, min(_LARGEST_BATCH, _BATCH_PIXELS // pixels))


def _check_views(views: np.ndarray) -> None:
    if views.ndim != 4 or not len(views):
        raise KgraftError(f"views must be [n, height, width, channels], n > 0; got {views.shape}")


class ViewBank:
    """Views, the teacher's logits on them, and its activations at the cuts as far as there is room.

    Position 0 is the views, position p the exit of block p - 1, the last position the logits.

    Attributes:
        views: pixels 0..255, `[n, height, width, channels]`.
        logits: the teacher's, float32 `[n, classes]`.
        preprocess: name of what turns pixels into the teacher's input.
        cached: the positions that are kept, in rising order, 0 and the last among them.
        spilled: those of them that are on disk.
        too_large: positions with values beyond float16's range, kept in float32 where they fit
            although float16 was asked for.
    """

    def __init__(
        self,
        views: np.ndarray,
        *,
        chain: Chain,
        preprocess: str = "none",
        cache_mb: float = 0,
        cache_dtype: str = "float32",
        spill_mb: float = 0,
        spill_folder: str | Path | None = None,
        positions: Sequence[int] = (),
        batch: int | None = None,
    ) -> None:
        """Runs the teacher once over all views.

        Args:
            views: pixels 0..255, `[n, height, width, channels]`, uint8 for least memory; not
                copied where they are a `aligned_empty`.
            chain: the teacher.
            preprocess: name of what turns pixels into the teacher's input.
            cache_mb: memory for activations, in MiB; views and logits are not counted.
            cache_dtype: `float32`, or `float16` for half the size; a position with values beyond
                float16's range is kept in float32. Steps compute in float32 either way.
            spill_mb: disk space for activations that do not fit in memory, in MiB.
            spill_folder: where that disk space is; None for the system's own for passing files.
            positions: cut positions to keep, the most wanted first; those that do not fit are
                recomputed from the nearest earlier one when they are read.
            batch: views per run of the teacher; None for a size that suits the images.

        Raises:
            KgraftError: `views` is not a non-empty 4-d array.
            KgraftError: a position is not one of the chain's.
            KgraftError: what is spilled cannot be written.
        """
        _check_views(views)
        self._chain = chain
        self.preprocess = preprocess
        self._batch = batch or default_batch(views)
        self._last = len(chain.blocks)
        self._runs: dict[tuple[int, tuple[int, ...]], Callable[..., list[tf.Tensor]]] = {}
        self.views = views
        self._cache = Cache(views)
        for position in positions:
            self._check_position(position)
        wanted = tuple(p for p in dict.fromkeys(positions) if 0 < p < self._last)
        self._fill(wanted, Room(cache_mb, spill_mb, cache_dtype, spill_folder))
        self.logits = self._cache[self._last].read(slice(None))

    def __len__(self) -> int:
        """Returns how many views there are."""
        return len(self.views)

    @property
    def cached(self) -> tuple[int, ...]:
        """The positions that are kept, in rising order."""
        return tuple(self._cache)

    @property
    def spilled(self) -> tuple[int, ...]:
        """The positions that are kept on disk, in rising order."""
        return tuple(p for p in self.cached if isinstance(self._cache[p], FileRows))

    @property
    def too_large(self) -> tuple[int, ...]:
        """Positions with values beyond float16's range, where that was asked for."""
        return tuple(sorted(self._cache.too_large))

    def close(self) -> None:
        """Lets memory and disk space go; `views` and `logits` stay."""
        self._cache.close()

    def tensor(self, position: int) -> tf.Tensor:
        """Returns the tensor of a position kept in memory.

        Args:
            position: one of `cached` and not of `spilled`.

        Returns:
            The tensor `[n, ...]` in host memory: pixels as they are at position 0, float32 logits
            at the last, the room's type elsewhere.

        Raises:
            KgraftError: the position is not kept in memory.
        """
        rows = self._cache.get(position)
        if not isinstance(rows, MemoryRows):
            held = tuple(p for p in self.cached if p not in self.spilled)
            raise KgraftError(f"position {position} is not cached in memory; cached: {held}")
        return rows.tensor

    def rows_of(self, position: int) -> Source:
        """Returns what `gather_rows` reads rows of a position from, within a step.

        Args:
            position: one of `cached`.

        Raises:
            KgraftError: the position is not cached.
        """
        rows = self._cache.get(position)
        if rows is None:
            raise KgraftError(f"position {position} is not cached; cached: {self.cached}")
        return rows.tensor if isinstance(rows, MemoryRows) else rows

    def nearest(self, position: int) -> tuple[int, Source]:
        """Finds where a run of the teacher to `position` can start.

        Args:
            position: a cut position.

        Returns:
            The nearest cached position at or before `position`, and its `rows_of`.

        Raises:
            KgraftError: the position is not one of the chain's.
            KgraftError: the bank is closed.
        """
        self._check_position(position)
        if not self._cache:
            raise KgraftError("the view bank is closed")
        found = max(p for p in self._cache if p <= position)
        return found, self.rows_of(found)

    def activation(self, position: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Returns what the teacher has at a cut position.

        Args:
            position: a cut position; at 0 the preprocessed input.
            rows: numbers of the views to do; None for all.

        Returns:
            Float32 `[n, ...]`, computed from the nearest cached position where it is not cached.

        Raises:
            KgraftError: the position is not one of the chain's, or the bank is closed.
        """
        found, _ = self.nearest(position)
        if found == position and position > 0:
            kept = self._cache[found].read(slice(None) if rows is None else rows)
            return kept.astype(np.float32, copy=False)
        made, done = np.empty(0, np.float32), 0
        for batch in self.activation_batches(position, rows):
            if not done:
                # In place, batch by batch: joining them at the end would take twice the memory.
                made = np.empty([len(self) if rows is None else len(rows), *batch.shape[1:]], "f4")
            made[done : done + len(batch)] = batch
            done += len(batch)
        return made

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
            KgraftError: the position is not one of the chain's, or the bank is closed.
        """
        found, _ = self.nearest(position)
        run = self._run_from(found, (position,))
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows)
        for first in range(0, len(chosen), self._batch):
            batch = self._cache[found].read(chosen[first : first + self._batch])
            yield run(tf.constant(batch))[0].numpy()

    def _check_position(self, position: int) -> None:
        if not 0 <= position <= self._last:
            raise KgraftError(f"a cut position must be 0..{self._last}; got {position}")

    def _run_from(self, start: int, stops: tuple[int, ...]) -> Callable[..., list[tf.Tensor]]:
        """Returns a compiled run of the teacher from one position, reporting at some others."""
        if (start, stops) not in self._runs:

            def run(x: tf.Tensor) -> list[tf.Tensor]:
                x = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
                found = {start: preprocess_images(x, self.preprocess) if start == 0 else x}
                for position in range(start, max(stops)):
                    block = self._chain.blocks[position]
                    found[position + 1] = block.graph(found[position], training=False)
                return [tf.cast(found[stop], tf.float32) for stop in stops]

            source = self.rows_of(start)
            spec = tf.TensorSpec([None, *source.shape[1:]], tf.as_dtype(source.dtype))
            function = tf.function(run, input_signature=[spec], autograph=False)
            self._runs[start, stops] = function.get_concrete_function()
        return self._runs[start, stops]

    def _fill(self, wanted: tuple[int, ...], room: Room) -> None:
        """Runs the teacher over all views and keeps what there is room for."""
        stops = (*(wanted if room.memory_mb or room.disk_mb else ()), self._last)
        one = self._run_from(0, stops)(tf.constant(self.views[:1]))
        shapes = {stop: tuple(out.shape[1:]) for stop, out in zip(stops, one, strict=True)}
        while True:
            self._cache.make_room(shapes, room)
            # A value beyond float16's range is rare enough to begin again.
            if self._run_over_views(stops):
                return

    def _run_over_views(self, stops: tuple[int, ...]) -> bool:
        """Returns whether all values fit in their type; stops where they do not."""
        run = self._run_from(0, stops)
        for first in range(0, len(self), self._batch):
            outputs = run(tf.constant(self.views[first : first + self._batch]))
            made = {p: o.numpy() for p, o in zip(stops, outputs, strict=True) if p in self._cache}
            if not self._cache.put(first, made):
                return False
        return True
