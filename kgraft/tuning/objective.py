"""From what was measured of a candidate to the one number that a tuner makes large."""

import dataclasses
import math
from collections.abc import Mapping

from kgraft.tuning.config import TuneConfig

# How each objective is called in pictures.
QUALITIES = {
    "agreement": "agreement with the teacher",
    "loss": "exp(-loss)",
    "accuracy": "accuracy on the validation set",
}


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a student costs for one image.

    Attributes:
        latency_ms: median of LiteRT at one thread, float32.
        bytes: of its float32 TFLite file.
        macs: multiply-adds.
        shares: each of `latency`, `bytes` and `macs` as a share of the teacher's, which was timed
            in turns with it.
    """

    latency_ms: float
    bytes: int
    macs: int
    shares: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well a student does what its teacher does.

    Attributes:
        agreement: share of the judge's views with the teacher's class, 0..1.
        loss: mean distillation loss there.
        accuracy: share of the validation set classified rightly, 0..1; None where no labelled set
            was named.
    """

    agreement: float
    loss: float
    accuracy: float | None = None

    def value(self, objective: str) -> float:
        """Returns the quality as a number from 0 to 1, the larger the better.

        Args:
            objective: `agreement`, `accuracy`, or `loss`, which becomes `exp(-loss)`.
        """
        if objective == "accuracy":
            assert self.accuracy is not None
            return self.accuracy
        return self.agreement if objective == "agreement" else math.exp(-self.loss)


def score(quality: float, costs: Costs, config: TuneConfig) -> float:
    """Returns the quality less what the costs weigh.

    Args:
        quality: 0..1.
        costs: the student's.
        config: has the weights.
    """
    return quality - sum(w * costs.shares[cost] for cost, w in config.weights.items())


def over_budget(costs: Costs, config: TuneConfig) -> dict[str, float]:
    """Says which bounds a student does not keep to.

    Args:
        costs: the student's.
        config: has the bounds.

    Returns:
        By cost, how far beyond the bound it is as a share of it; empty where all are kept.
    """
    excess = {cost: costs.shares[cost] / bound - 1 for cost, bound in config.bounds.items()}
    return {cost: beyond for cost, beyond in excess.items() if beyond > 0}


def trained_score(quality: Quality, costs: Costs, config: TuneConfig) -> float:
    """Returns the score of a trained student, which is low where it lacks the accuracy asked for.

    Args:
        quality: the student's.
        costs: the student's.
        config: has the weights, and the bound on the accuracy.
    """
    if config.min_accuracy is not None and quality.accuracy is not None:
        missing = 1 - quality.accuracy / config.min_accuracy
        if missing > 0:
            return refused_score({"accuracy": missing}, config)
    return score(quality.value(config.objective), costs, config)


def refused_score(excess: Mapping[str, float], config: TuneConfig) -> float:
    """Returns a score below any that a trained candidate has, lower the farther beyond the bounds.

    Args:
        excess: what `over_budget` found, or the share of the accuracy that is missing.
        config: has the weights, which may make other scores negative.
    """
    # Small steps: a cliff would be all that a Gaussian process sees.
    return -2 * sum(config.weights.values()) - 0.1 * sum(min(e, 5.0) for e in excess.values())
