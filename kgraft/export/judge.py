"""What a file must keep to, and whether its answers do."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from kgraft.errors import KgraftError
from kgraft.export.records import Comparison, Verification

# Images given at once to a file of any batch.
_TOGETHER = 3


class TakesImages(Protocol):
    """A file that is open."""

    def together(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of some images, computed in one run."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What files are held against: the Keras student's answers to some images.

    Attributes:
        logits: float32 `[n, classes]`.
        given: the images as the files take them, `[n, height, width, channels]`.
        float32: the student as a float32 `.tflite` file, to compare layers with; None for not.
        weights: a float32 file of the weights that were rounded, where they are not the student's.
    """

    logits: np.ndarray
    given: np.ndarray
    float32: bytes | None = None
    weights: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Demands:
    """What a file must keep to.

    Attributes:
        tolerance: largest difference of a logit, as a share of the student's largest logit.
        integer: whether the file must be without any floating-point tensor.
        noise: whether the noise of its layers is measured.
        dynamic_batch: whether it takes any number of images at once; else shapes must be fixed.
        min_agreement: share of images, 0..1, on which it must name the student's class; None for
            no such bound.
    """

    tolerance: float
    integer: bool = False
    noise: bool = False
    dynamic_batch: bool = False
    min_agreement: float | None = None


def judge(
    name: str,
    reference: Reference,
    found: np.ndarray | None,
    demands: Demands,
    *,
    faults: list[str],
) -> Verification:
    """Compares a file's answers with the student's.

    Args:
        name: the file.
        reference: the student's answers.
        found: the file's, float32 `[n, classes]`; None where it does not run.
        demands: what it must keep to.
        faults: what is wrong with it so far.

    Returns:
        The comparison, without what a `.tflite` file is made of.
    """
    largest, mean, agreement, expected = None, None, None, reference.logits
    scale, tolerance = float(np.abs(expected).max()), demands.tolerance
    if found is not None and found.shape != expected.shape:
        faults.append(f"makes logits {found.shape}, the student {expected.shape}")
        found = None
    if found is not None:
        difference = np.abs(found.astype(np.float64) - expected)
        largest, mean = float(difference.max()), float(difference.mean())
        agreement = float((found.argmax(1) == expected.argmax(1)).mean())
        # Written so that a NaN fails; the last term lets all-zero logits pass.
        if not largest <= tolerance * scale + 1e-7:
            faults.append(
                f"differs by {largest:.3g} from logits up to {scale:.3g}, "
                f"more than {tolerance:g} of them"
            )
        seldom = _disagreement(agreement, demands.min_agreement, f"{len(expected)} held-out views")
        faults += [seldom] if seldom else []
    return Verification(
        name=name,
        max_abs_difference=largest,
        mean_abs_difference=mean,
        largest_logit=scale,
        tolerance=tolerance,
        agreement=agreement,
        images=len(expected),
        ops={},
        static=True,
        builtin_only=True,
        ok=not faults,
        why=", ".join(faults),
    )


def with_test(
    found: Verification, test: Comparison, min_agreement: float | None = None
) -> Verification:
    """Adds what a file says of the test set to its verification.

    Args:
        found: its verification on held-out views.
        test: its answers to the test images against the student's.
        min_agreement: share of images, 0..1, on which it must name the student's class.

    Returns:
        The verification; not `ok` where a difference is not finite or the agreement too small.
    """
    seldom = _disagreement(test.agreement, min_agreement, f"{test.images} test images")
    finite = math.isfinite(test.max_abs_difference)
    wrong = None if finite else f"differs by what is not finite on {test.images} test images"
    why = ", ".join(filter(None, (found.why, wrong, seldom)))
    return dataclasses.replace(found, test=test, ok=not why, why=why)


def check_verified(verifications: Sequence[Verification]) -> None:
    """Ends a run whose files are not all usable; called after the report is written.

    Args:
        verifications: of all exported files.

    Raises:
        KgraftError: at least one is not ok; names each with its reason.
    """
    failed = [f"{found.name}: {found.why}" for found in verifications if not found.ok]
    if failed:
        raise KgraftError("exported files failed their verification: " + "; ".join(failed))


def check_together(runner: TakesImages, reference: Reference, demands: Demands) -> None:
    """Checks what a file of any batch says of several images at once.

    Args:
        runner: the file.
        reference: the student's answers.
        demands: what it must keep to.

    Raises:
        KgraftError: it does not take them, or says something else than the student.
    """
    images = reference.given[:_TOGETHER]
    found, expected = runner.together(images), reference.logits[: len(images)]
    if found.shape != expected.shape:
        raise KgraftError(f"makes logits {found.shape} of {len(images)} images at once")
    off = float(np.abs(found - expected).max())
    if not off <= demands.tolerance * float(np.abs(reference.logits).max()) + 1e-7:
        raise KgraftError(f"differs by {off:.3g} when it gets {len(images)} images at once")


def _disagreement(agreement: float, at_least: float | None, where: str) -> str | None:
    if at_least is None or agreement >= at_least:
        return None
    return (
        f"agrees with the student on {100 * agreement:.2f} % of {where}, less than "
        f"--min_agreement={at_least:g}"
    )
