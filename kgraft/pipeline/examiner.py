"""The test set: decoded once, the teacher's answers found once, read only at the end of a cell."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from kgraft.data import CorruptImage, Source, eval_batches
from kgraft.data.preprocess import preprocess
from kgraft.errors import KgraftError
from kgraft.graph import Graph, total_macs
from kgraft.pipeline.evaluation import graph_logits
from kgraft.pipeline.job import Job
from kgraft.pipeline.test_set import present_classes

_BATCH = 128
# Decoded test sets up to this size stay in memory; larger ones are decoded for every cell.
_MEMORY_BYTES = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Marks:
    """How a network does on the test set.

    Attributes:
        accuracy: share of images classified rightly.
        accuracy_among: the same when only the logits of the test set's classes count; None where
            these are all the classes.
        agreement: share of images with the teacher's class.
    """

    accuracy: float
    accuracy_among: float | None
    agreement: float


class Examiner:
    """Measures networks on one test set.

    Attributes:
        images: how many test images there are; None before the first measurement.
        skipped: how many could not be decoded.
    """

    def __init__(self, job: Job) -> None:
        """Reads nothing yet.

        Args:
            job: teacher, test set and names of the logits.

        Raises:
            KgraftError: there is no test set.
        """
        if job.test is None:
            raise KgraftError("--eval_dataset is missing: a comparison needs a labelled test set")
        self._test, self._teacher, self._names = job.test, job.teacher, job.names
        self._size = job.transfer.size
        self._present = present_classes(job.test, job.names)
        self._held: list[tuple[np.ndarray, np.ndarray]] | None = None
        self._answers: np.ndarray | None = None
        self.images: int | None = None
        self.skipped = 0

    @property
    def source(self) -> Source:
        """The test set."""
        return self._test.source

    def measure(self, graph: Graph) -> Marks:
        """Runs a network over the test set.

        Args:
            graph: preprocessed images to logits.

        Returns:
            Its marks.

        Raises:
            KgraftError: there is no image, or a label without a logit.
        """
        if self._answers is None:
            self._answers = self._predict(self._teacher.chain.graph)[0]
        classes, among, labels = self._predict(graph)
        return Marks(
            accuracy=float(np.mean(classes == labels)),
            accuracy_among=None if among is None else float(np.mean(among == labels)),
            agreement=float(np.mean(classes == self._answers)),
        )

    def teacher(self) -> dict[str, float | int | None]:
        """Measures the teacher itself; plain values for its record."""
        marks, graph = self.measure(self._teacher.chain.graph), self._teacher.chain.graph
        return {
            "accuracy": marks.accuracy,
            "accuracy_among": marks.accuracy_among,
            "parameters": graph.parameters,
            "macs": total_macs(graph),
            "classes": graph.output_shape[-1],
            "test_images": self.images,
            "test_images_skipped": self.skipped,
        }

    def _predict(self, graph: Graph) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """The classes named, those among the classes present, and the labels, `[images]` each."""
        run = graph_logits(graph)
        named, among, labels = [], [], []
        for images, wanted in self._batches():
            inputs = np.asarray(preprocess(images, self._teacher.preprocess), "float32")
            logits = run(inputs)
            self._check(wanted, logits)
            named.append(logits.argmax(1))
            labels.append(wanted)
            if self._present is not None:
                among.append(self._present[logits[:, self._present].argmax(1)])
        if not labels:
            raise KgraftError(f"{self._test.source.name} has no image that can be decoded")
        self.images = sum(map(len, labels))
        picked = np.concatenate(among) if among else None
        return np.concatenate(named), picked, np.concatenate(labels)

    def _check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        if labels.max() >= logits.shape[1]:
            raise KgraftError(
                f"{self._test.source.name} has label {labels.max()}, the teacher only the logits "
                f"0 to {logits.shape[1] - 1}: give a set that belongs to the teacher"
            )

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self._held is not None:
            yield from self._held
            return
        held: list[tuple[np.ndarray, np.ndarray]] = []
        used, self.skipped = 0, 0
        for images, labels in self._decoded():
            used += images.nbytes
            if used <= _MEMORY_BYTES:
                held.append((images, labels))
            yield images, labels
        if used <= _MEMORY_BYTES:
            self._held = held

    def _decoded(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        def note(_: CorruptImage) -> None:
            self.skipped += 1

        return eval_batches(
            self._test.source,
            size=self._size,
            resize=self._test.resize,
            batch=_BATCH,
            label_names=self._names,
            on_corrupt=note,
        )
