"""How the memory of a search grows with its trials.

    python -m benchmarks.trials --json

One search in a fresh process, on a network of seconds; trials share no blocks, so that each trains
all its phases. `growth_mb_per_trial` is fitted to the second half of the trials: in the first one
the process still fills its arenas and caches.
"""

import argparse
from collections.abc import Sequence

from benchmarks import apart, command

VARY = ("block0_ratio=0.3..0.9", "block1_ratio=0.3..0.9")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--trials`."""
    parser.add_argument("--trials", type=command.positive, default=50, help="how many trials")


def measure(flags: argparse.Namespace) -> command.Results:
    """Does the search once.

    Args:
        flags: `threads` and `trials`.

    Returns:
        Memory after each trial, and its growth.
    """
    from benchmarks import machine

    others = machine.OtherWork()
    settings = {
        "size": 12,
        "width": 16,
        "blocks": 3,
        "vary": VARY,
        "trials": flags.trials,
        "steps": (2, 2),
        "threads": flags.threads,
        "block_cache": False,
    }
    command.tell(f"searching, {flags.trials} trials")
    with apart.Apart("benchmarks.small_search:make", **settings) as search:
        found = search()
    memory = found["memory_mb"]
    return {
        "benchmark": "trials",
        "trials": flags.trials,
        "phases_trained": found["phases"] - found["phases_reused"],
        "seconds": found["seconds"],
        "memory_after_first_mb": memory[0],
        "memory_after_last_mb": memory[-1],
        "growth_mb_per_trial": growth(memory[len(memory) // 2 :]),
        "memory_mb": memory,
        "machine": machine.describe(flags.threads, others),
    }


def growth(memory: Sequence[float]) -> float:
    """Fits a line to memory by trial.

    Args:
        memory: after each trial, in MiB.

    Returns:
        MiB a trial; 0 where there is one trial only.
    """
    import numpy as np

    if len(memory) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(memory)), memory, 1)[0])


if __name__ == "__main__":
    command.run("trials", "Memory of a search by its trials.", measure, add_flags=add_flags)
