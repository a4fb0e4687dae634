"""The labelled validation set, where one is named: the only labels that a search may choose by."""

import dataclasses

from kgraft.config import DataConfig
from kgraft.data import Source, open_source
from kgraft.data_config import same_set
from kgraft.graph import Graph
from kgraft.pipeline.examiner import Examiner
from kgraft.pipeline.job import Job
from kgraft.pipeline.test_set import check_test_set, open_test_set
from kgraft.pipeline.transfer import class_names
from kgraft.tuning.apart import check_images_apart
from kgraft.tuning.config import TuneConfig

_FLAG = "val_dataset"


@dataclasses.dataclass(frozen=True)
class Validation:
    """A labelled set, decoded once, apart from transfer images and test set.

    Attributes:
        examiner: measures students on it.
        note: what it is, in words.
    """

    examiner: Examiner
    note: str

    def accuracy(self, graph: Graph) -> float:
        """Returns the share of its images that a student classifies rightly, 0..1.

        Args:
            graph: the fused student, preprocessed images to logits.

        Raises:
            KgraftError: it has no image, or a label without a logit.
        """
        return self.examiner.measure(graph).accuracy


def open_validation(config: TuneConfig, job: Job) -> Validation | None:
    """Opens the validation set and reads no label yet; None where none is named.

    Args:
        config: the settings of the search.
        job: the input of the run that the search starts from.

    Raises:
        KgraftError: it cannot be opened, has no labels, does not fit the teacher, or shares images
            with the split that transfer images are drawn from or with the test set.
    """
    if config.val_dataset is None:
        return None
    data, graph = config.validation_data, job.chain.graph
    found = open_test_set(data, graph, flag=_FLAG)
    assert found is not None
    _check_apart(found.source, data, config.run.data, job)
    names = job.names or class_names(data, job.transfer.images, found, job.teacher.classes)
    check_test_set(found, job.transfer.size, names, classes=job.teacher.classes, flag=_FLAG)
    note = f"{len(found.source)} labelled images of {found.source.name}"
    if not found.source.name.startswith("folder:"):
        note = f"{note}, split {data.eval_split}"
    return Validation(Examiner(dataclasses.replace(job, test=found, names=names)), note)


def _check_apart(source: Source, validation: DataConfig, run: DataConfig, job: Job) -> None:
    """Looks at the images of sets that go by the same name."""
    drawn_from = (
        ("transfer", run.dataset, run.split, "--split"),
        ("extra", run.extra_dataset, run.extra_split, "--extra_split"),
    )
    for kind, dataset, split, flag in drawn_from:
        if dataset is None or not same_set(dataset, validation.eval_dataset):
            continue
        drawn = open_source(
            dataset,
            split=split,
            data_dir=run.data_dir,
            manual_dir=run.manual_dir,
            channels=job.transfer.size[-1],
        )
        what = f"what the {kind} images are drawn from ({flag}={split})"
        _check_ids(source, drawn, validation, what)
    if job.test is not None and same_set(run.eval_dataset, validation.eval_dataset):
        what = (
            f"the test set (--eval_split={run.eval_split}), which must have no part in the choice"
        )
        _check_ids(source, job.test.source, validation, what)


def _check_ids(source: Source, other: Source, validation: DataConfig, what: str) -> None:
    if source.ids_span_splits:
        check_images_apart(validation, source.ids, other.ids, what)
