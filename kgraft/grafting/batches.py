"""Which views each step reads: index rows made in advance, so that steps need no Python."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Batches:
    """The index rows of some steps.

    Attributes:
        rows: int32 `[steps, width]`, numbers of views.
        weights: float32 `[steps, width]`; the loss of a step is the weighted sum over its row.
            Padding weighs nothing.
    """

    rows: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, steps: slice) -> "Batches":
        return Batches(self.rows[steps], self.weights[steps])


def _padded_width(batch: int, replicas: int) -> int:
    return -(-batch // replicas) * replicas


def _epoch(order: np.ndarray, batch: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts one epoch's order into rows; what is padded repeats views, at weight 0."""
    count = -(-len(order) // batch)
    rows = np.empty([count, width], np.int32)
    real = np.zeros([count, width], np.float32)
    for step in range(count):
        part = order[step * batch : (step + 1) * batch]
        # Real views as padding keep a BatchNorm that trains its statistics on real data.
        rows[step] = np.resize(np.concatenate([part, order]), width)
        real[step, : len(part)] = 1.0
    return rows, real


def shuffled_batches(
    views: int, *, batch: int, steps: int, replicas: int, seed: tuple[int, ...]
) -> Batches:
    """Makes training batches: every epoch visits each view once, in an order of its own.

    The last batch of an epoch may be uneven. The weights are 1 / (real examples of the step over
    all replicas), so the summed loss is the mean of the global batch however it is shared out.

    Args:
        views: how many views there are.
        batch: views per step over all replicas; more than there are means all of them.
        steps: how many steps to make.
        replicas: rows are padded to a multiple of this.
        seed: entropy of the order.

    Returns:
        Index rows and weights, `[steps, width]`.
    """
    batch = min(batch, views)
    width = _padded_width(batch, replicas)
    rng = np.random.default_rng(seed)
    rows, real = [np.empty([0, width], np.int32)], [np.empty([0, width], np.float32)]
    for _ in range(-(-steps // -(-views // batch))):
        epoch_rows, epoch_real = _epoch(rng.permutation(views), batch, width)
        rows.append(epoch_rows)
        real.append(epoch_real)
    real_rows = np.concatenate(real)[:steps]
    weights = real_rows / np.maximum(real_rows.sum(axis=1, keepdims=True), 1.0)
    return Batches(np.concatenate(rows)[:steps], weights.astype(np.float32))


def ordered_batches(views: int, *, batch: int, replicas: int) -> Batches:
    """Makes batches that visit each view once, in order, and whose weights sum to 1 in all.

    Args:
        views: how many views there are.
        batch: views per step over all replicas.
        replicas: rows are padded to a multiple of this.

    Returns:
        Index rows and weights, `[steps, width]`.
    """
    batch = min(batch, views)
    rows, real = _epoch(np.arange(views), batch, _padded_width(batch, replicas))
    return Batches(rows, (real / views).astype(np.float32))
