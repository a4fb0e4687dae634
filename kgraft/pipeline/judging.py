"""Every model's answers to the same images, held against labels, the teacher and the student."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from kgraft.data.preprocess import preprocess
from kgraft.errors import KgraftError
from kgraft.export import Comparison, Verification, with_test

Logits = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A model's predictions held against the teacher's and the labels.

    Attributes:
        accuracy: share of images classified rightly; None without labels.
        agreement: share of images with the teacher's class.
        among: accuracy when only the logits of the test set's classes count; None where these are
            all the classes, or without labels.
        beside: the answers against the student's; None where the student does not take part.
    """

    accuracy: float | None
    agreement: float
    among: float | None = None
    beside: Comparison | None = None


class _Tally:
    """Counts what a model says of the images that pass by."""

    def __init__(self) -> None:
        self.images = self.labelled = self.right = self.same = self.among = 0
        self.as_student = 0
        self.largest = self.total = 0.0
        self.logits = 0

    def add(self, answers: "_Answers", name: str, reference: str) -> None:
        """Counts a batch of one model's answers."""
        logits, labels = answers.logits[name], answers.labels
        classes = logits.argmax(axis=1)
        self.images += len(logits)
        self.same += int(np.sum(classes == answers.logits[reference].argmax(axis=1)))
        if labels is not None:
            self.labelled += len(labels)
            self.right += int(np.sum(classes == labels))
            if answers.present is not None:
                picked = answers.present[logits[:, answers.present].argmax(axis=1)]
                self.among += int(np.sum(picked == labels))
        student = answers.logits.get("student")
        if student is not None:
            difference = np.abs(logits.astype(np.float64) - student)
            # Python's `max` would drop a NaN.
            self.largest = float(np.maximum(self.largest, difference.max()))
            self.total += float(difference.sum())
            self.logits += difference.size
            self.as_student += int(np.sum(classes == student.argmax(axis=1)))

    def judged(self, *, among: bool) -> Judged:
        """Returns what the counts come to."""
        accuracy = self.right / self.labelled if self.labelled else None
        beside = None
        if self.logits:
            beside = Comparison(
                max_abs_difference=self.largest,
                mean_abs_difference=self.total / self.logits,
                agreement=self.as_student / self.images,
                accuracy=accuracy,
                images=self.images,
            )
        return Judged(
            accuracy=accuracy,
            agreement=self.same / self.images,
            among=self.among / self.labelled if self.labelled and among else None,
            beside=beside,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Answers:
    """What all models say of one batch, its labels, and the logits that count."""

    logits: Mapping[str, np.ndarray]
    labels: np.ndarray | None
    present: np.ndarray | None


def judge(
    models: Mapping[str, Logits],
    batches: Iterator[tuple[np.ndarray, np.ndarray | None]],
    *,
    preprocessing: str,
    on_pixels: Collection[str] = (),
    present: np.ndarray | None = None,
    reference: str = "teacher",
) -> dict[str, Judged]:
    """Runs all models over the same images once.

    Args:
        models: by name, `reference` among them; images to logits. Where `student` is one of them,
            all are compared with it too.
        batches: pixels 0..255 `[batch, height, width, channels]`, labels `[batch]` or None.
        preprocessing: name of what turns pixels into the models' input.
        on_pixels: names of the models that take pixels as they are.
        present: logits of the classes the images are of, `[classes present]`; None for all.
        reference: whose classes agreement is with.

    Returns:
        Each model's accuracy and agreement.

    Raises:
        KgraftError: there is no image, or a label without a logit.
    """
    tallies = {name: _Tally() for name in models}
    count = 0
    for images, labels in batches:
        pixels = np.asarray(images, "float32")
        inputs = np.asarray(preprocess(images, preprocessing), "float32")
        logits = {n: run(pixels if n in on_pixels else inputs) for n, run in models.items()}
        _check_labels(labels, logits[reference])
        count += len(images)
        for name, tally in tallies.items():
            tally.add(_Answers(logits, labels, present), name, reference)
    if not count:
        raise KgraftError("there is no image to evaluate on: give a test set with images")
    return {name: tally.judged(among=present is not None) for name, tally in tallies.items()}


def with_test_set(
    verifications: Sequence[Verification],
    judged: Mapping[str, Judged],
    min_agreement: float | None,
) -> tuple[Verification, ...]:
    """Adds to each verification what the file says of the test set.

    Args:
        verifications: on held-out views.
        judged: what was found on the test set, by name; a file that does not run is not there.
        min_agreement: share of images, 0..1, on which a file must name the student's class.
    """
    found = []
    for verification in verifications:
        beside = judged[verification.name].beside if verification.name in judged else None
        if beside is not None:
            verification = with_test(verification, beside, min_agreement)
        found.append(verification)
    return tuple(found)


def _check_labels(labels: np.ndarray | None, logits: np.ndarray) -> None:
    if labels is not None and labels.max() >= logits.shape[1]:
        raise KgraftError(
            f"the test set has label {labels.max()}, the teacher only the logits 0 to "
            f"{logits.shape[1] - 1}: give the test set that belongs to the teacher"
        )
