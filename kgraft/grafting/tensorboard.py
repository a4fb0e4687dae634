"""TensorBoard scalars of the training."""

from pathlib import Path

import tensorflow as tf

from kgraft.grafting.progress import Progress
from kgraft.grafting.step import rate_at


class TensorBoardLog:
    """A progress listener that writes scalars: one run per phase, steps counted within it."""

    def __init__(self, folder: Path | str) -> None:
        """Writes nothing yet.

        Args:
            folder: log folder; each phase gets a sub-folder of its name.
        """
        self._folder = Path(folder)
        self._phase = ""
        self._writer: tf.summary.SummaryWriter | None = None

    def __call__(self, progress: Progress) -> None:
        """Writes loss, held-out figures and rates.

        Args:
            progress: the report.
        """
        if progress.phase.name != self._phase or self._writer is None:
            self.close()
            self._phase = progress.phase.name
            self._writer = tf.summary.create_file_writer(str(self._folder / self._phase))
        writer = self._writer
        # Scalars run on the host whatever device a strategy has made the default.
        with tf.device("CPU:0"), writer.as_default():
            self._write(progress)
        if progress.heldout_loss is not None:
            writer.flush()

    def _write(self, progress: Progress) -> None:
        phase = progress.phase
        first = progress.step - len(progress.losses)
        for offset, loss in enumerate(progress.losses):
            tf.summary.scalar("loss", loss, step=first + offset + 1)
        if len(progress.losses):
            for name in ("block_rate", "adapter_rate"):
                rate = rate_at(phase, getattr(phase, name), progress.step - 1)
                tf.summary.scalar(name, rate, step=progress.step)
        if progress.heldout_loss is not None:
            tf.summary.scalar("heldout_loss", progress.heldout_loss, step=progress.step)
            tf.summary.scalar("heldout_agreement", progress.heldout_agreement, step=progress.step)

    def close(self) -> None:
        """Flushes and closes the current file; a later report opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._phase = ""
