"""The labelled images of the report: opened and checked before training, read after it."""

import dataclasses

import numpy as np

from kgraft.config import DataConfig
from kgraft.data import Source, check_fits, eval_batches, open_source, resolve_resize
from kgraft.data_config import Place, same_images, same_set
from kgraft.errors import KgraftError
from kgraft.graph import Graph

Size = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The labelled images of the report.

    Attributes:
        source: the images.
        resize: how they are fitted to the teacher's size.
    """

    source: Source
    resize: str


def open_test_set(
    config: DataConfig, teacher: Graph, *, flag: str = "eval_dataset"
) -> TestSet | None:
    """Opens the test set; None where none is given. What is in memory anyway is not looked at.

    Args:
        config: the data settings.
        teacher: the whole teacher, for the channels of its images.
        flag: the flag that names the set, for messages.

    Raises:
        KgraftError: the source is not as expected, has no labels or is the transfer set.
    """
    if not config.eval_dataset:
        return None
    _check_apart(config)
    source = open_source(
        config.eval_dataset,
        split=config.eval_split,
        data_dir=config.eval_data_dir or config.data_dir,
        manual_dir=config.manual_dir,
        download=config.download,
        channels=teacher.input_shape[-1] or 3,
    )
    if not source.has_labels:
        raise KgraftError(
            f"--{flag}={config.eval_dataset}{_split(config)} has no labels to report accuracy by: "
            "give a labelled test set, or none"
        )
    return TestSet(source, resolve_resize(source, config.resize))


def check_test_set(
    test: TestSet,
    size: Size,
    names: tuple[str, ...] | None,
    *,
    classes: int,
    flag: str = "eval_dataset",
) -> None:
    """Checks what the test set's description says, or its labels where it has none.

    Training takes its time: a test set that does not fit is to be found before it.

    Args:
        test: the test set.
        size: `(height, width, channels)` of the views.
        names: names of the logits, or None.
        classes: number of logits.
        flag: the flag that names the set, for messages.

    Raises:
        KgraftError: its images do not fit; a label is no logit; a class has no logit of its name;
            it names its classes, which are not as many as there are logits, and nothing names
            those.
    """
    source = test.source
    if source.image_shape is not None:
        name = f"an image of --{flag}={source.name}"
        check_fits(source.image_shape, size=size, resize=test.resize, name=name)
    if source.class_names is None:
        # That there are labels was found by reading them.
        count = source.class_count or 0
        if count > classes:
            raise KgraftError(
                f"--{flag}={source.name} has labels up to {count - 1}, the teacher "
                f"only the logits 0 to {classes - 1}: give the test set that belongs to it"
            )
        return
    if names is None:
        raise KgraftError(
            f"--{flag}={source.name} has {len(source.class_names)} classes, the teacher "
            f"{classes} logits: give --labels=FILE with the name of each logit, one a line"
        )
    # Made and dropped: this looks for a logit of each class and has read no image yet.
    eval_batches(source, size=size, resize=test.resize, label_names=names)


def present_classes(test: TestSet | None, names: tuple[str, ...] | None) -> np.ndarray | None:
    """Returns the logits of the test set's classes where they are fewer than the teacher's.

    Args:
        test: a checked test set, or None.
        names: names of the logits, or None.

    Returns:
        Logit numbers `[classes present]`; None where all classes are there or nothing says.
    """
    if test is None or names is None or test.source.class_names is None:
        return None
    here = set(test.source.class_names)
    found = np.array([logit for logit, name in enumerate(names) if name in here])
    return found if len(found) < len(names) else None


def _split(config: DataConfig) -> str:
    """The split, where the set has any, for messages."""
    folder = (config.eval_dataset or "").startswith("folder:")
    return "" if folder else f", split {config.eval_split},"


def _check_apart(config: DataConfig) -> None:
    """Refuses a test set that transfer or extra images are drawn from."""
    folder = config.eval_data_dir or config.data_dir
    test = Place(config.eval_dataset, config.eval_split, folder)
    drawn_from = {
        "transfer": Place(config.dataset, config.split, config.data_dir),
        "extra": Place(config.extra_dataset, config.extra_split, config.data_dir),
    }
    for kind, place in drawn_from.items():
        if same_images(place, test):
            same = same_set(place.dataset, test.dataset)
            raise KgraftError(
                f"--eval_dataset={config.eval_dataset} is the set the {kind} images are drawn "
                f"from{'' if same else ', or shares folders with it'}: give a test set apart from "
                "it (for tfds: and npz: another --eval_split), or none"
            )
