"""Variants measured in turn, so that a busy moment of the machine meets all of them."""

import statistics
from collections.abc import Callable, Mapping

# Does a turn of some updates and returns seconds per update.
Variant = Callable[[], float]


def take_turns(variants: Mapping[str, Variant], *, rounds: int) -> dict[str, list[float]]:
    """Measures every variant once a round.

    Args:
        variants: name to a variant that is warm.
        rounds: how often each has its turn.

    Returns:
        Name to what it returned, one value a round.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(variant())
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Returns the median of each list by its name."""
    return {name: statistics.median(values) for name, values in times.items()}
