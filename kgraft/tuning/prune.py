"""Which candidates are not worth training, by their closed-form graft."""

from collections.abc import Sequence

from kgraft.tuning.config import COSTS, TuneConfig
from kgraft.tuning.objective import Costs, Quality, score
from kgraft.tuning.records import TrialRecord

# Before as many trials are trained nobody knows how much training brings.
_KNOWN = 3


def hopeless(
    closed: Quality, costs: Costs, records: Sequence[TrialRecord], config: TuneConfig
) -> str | None:
    """Says why a candidate need not be trained.

    The most that training has brought in any trial so far is added to what the candidate is in
    closed form. If even that falls short it is not trained.

    Args:
        closed: its quality before the first update.
        costs: its costs.
        records: the trials so far.
        config: the settings of the search.

    Returns:
        The reason; None where it is to be trained.
    """
    trained = [r for r in records if r.whole and r.closed_agreement is not None]
    if config.prune == "off" or len(trained) < _KNOWN:
        return None
    gain = max(quality_of(r, config) - _closed_of(r, config) for r in trained)
    hoped = min(1.0, closed.value(config.objective) + max(0.0, gain))
    # A student that the search refuses takes no other one's place.
    kept = [r for r in trained if within_bounds(r, config)]
    if config.prune == "front":
        better = [r for r in kept if _cheaper(r, costs) and quality_of(r, config) > hoped]
        reason = f"trial {better[0].trial} costs no more and is better" if better else None
    else:
        best = max((r.score or 0.0 for r in kept), default=None)
        reason = None
        if best is not None and score(hoped, costs, config) < best:
            reason = f"the best score so far is {best:.4f}"
    if reason is None:
        return None
    return (
        f"closed form {closed.value(config.objective):.4f}, with the most that training has "
        f"brought {hoped:.4f}; {reason}"
    )


def quality_of(record: TrialRecord, config: TuneConfig) -> float:
    """Returns the quality of a trained student, 0..1."""
    assert record.agreement is not None and record.loss is not None
    return Quality(record.agreement, record.loss, record.accuracy).value(config.objective)


def within_bounds(record: TrialRecord, config: TuneConfig) -> bool:
    """Returns whether a student keeps to the bounds on its costs and has the accuracy asked for."""
    if config.min_accuracy is not None and (record.accuracy or 0.0) < config.min_accuracy:
        return False
    return all(record.shares[cost] <= bound for cost, bound in config.bounds.items())


def _closed_of(record: TrialRecord, config: TuneConfig) -> float:
    assert record.closed_agreement is not None and record.closed_loss is not None
    closed = Quality(record.closed_agreement, record.closed_loss, record.closed_accuracy)
    return closed.value(config.objective)


def _cheaper(record: TrialRecord, costs: Costs) -> bool:
    return all(record.shares[cost] <= costs.shares[cost] for cost in COSTS)
