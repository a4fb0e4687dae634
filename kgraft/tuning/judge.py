"""How good a student is: on further views that no run trains on or chooses by, without labels.

Only where a labelled validation set is named there is accuracy too.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kgraft.config import RunConfig
from kgraft.data import make_views
from kgraft.data.preprocess import preprocess
from kgraft.grafting import agreement, make_loss
from kgraft.grafting.bank import default_batch
from kgraft.graph import Graph
from kgraft.pipeline.evaluation import graph_logits
from kgraft.pipeline.job import Job
from kgraft.tuning.objective import Quality
from kgraft.tuning.validation import Validation


class Judge:
    """Holds students against the teacher, all on the same views.

    Attributes:
        views: pixels 0..255, `[n, height, width, channels]`.
        note: what they are, in words, and the validation set where there is one.
    """

    def __init__(
        self,
        job: Job,
        config: RunConfig,
        count: int,
        *,
        most_views: int,
        validation: Validation | None = None,
    ) -> None:
        """Makes the views and runs the teacher over them.

        Args:
            job: the input of the run that the search starts from, with the transfer images.
            config: its settings.
            count: views of each transfer image.
            most_views: training views of an image that a candidate may have.
            validation: the labelled images to measure accuracy on; None for no accuracy.
        """
        self.views, self.note = judge_views(job, config, count, most_views=most_views)
        self._validation = validation
        if validation is not None:
            self.note = f"{self.note}; accuracy on {validation.note}"
        self._preprocess = job.teacher.preprocess
        self._loss = make_loss(config.train.loss, temperature=config.train.temperature)
        self._teacher = self._logits(job.chain.graph)

    def __call__(self, graph: Graph) -> Quality:
        """Measures a student.

        Args:
            graph: the fused student, preprocessed images to logits.
        """
        logits = self._logits(graph)
        loss = self._loss(tf.constant(logits), tf.constant(self._teacher))
        accuracy = None if self._validation is None else self._validation.accuracy(graph)
        return Quality(agreement(logits, self._teacher), float(np.mean(loss)), accuracy)

    def _logits(self, graph: Graph) -> np.ndarray:
        run: Callable[[np.ndarray], np.ndarray] = graph_logits(graph)
        batch = default_batch(self.views)
        parts = (self.views[i : i + batch] for i in range(0, len(self.views), batch))
        return np.concatenate([
            run(np.asarray(preprocess(part, self._preprocess), "float32")) for part in parts
        ])


def judge_views(
    job: Job, config: RunConfig, count: int, *, most_views: int
) -> tuple[np.ndarray, str]:
    """Makes views whose numbers come after those of any training and of its held-out views.

    Args:
        job: has the transfer images.
        config: the settings of the run.
        count: views of each image.
        most_views: training views of an image that a candidate may have.

    Returns:
        Pixels, and what they are in words. Without augmentation there are no further views, and
        the held-out images stand in.
    """
    data = config.data
    if data.augment == "none":
        return job.transfer.heldout, job.transfer.heldout_note
    views = make_views(
        job.transfer.images.images,
        views=count,
        augment=data.augment,
        size=job.transfer.size,
        seed=data.seed,
        resize=job.transfer.resize,
        first_view=most_views + data.heldout_views,
    )
    images = len(job.transfer.images.images)
    return views, f"{count} further views of each of {images} transfer images"
