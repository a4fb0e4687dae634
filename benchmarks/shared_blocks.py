"""What it saves that trials share blocks: the same search with the cache and without.

    python -m benchmarks.shared_blocks --json

Both are whole searches, each in a fresh process, one after the other: weighing, solving, judging
and reporting take their time in both. Trials are drawn at random, so that both do the same ones.
`share_of_cpu_time` is what to go by on a machine with other work.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks import apart, command

# A few values a block, as a space has that is meant to be shared.
VARY = (
    "block0_ratio=0.5|0.75",
    "block1_ratio=0.5|0.75",
    "block2_ratio=0.5|0.75",
    "block3_ratio=0.25|0.5|0.75",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--trials` and `--steps`."""
    parser.add_argument("--trials", type=command.positive, default=14, help="how many trials")
    parser.add_argument("--steps", type=command.positive, default=400, help="updates of each phase")


def measure(flags: argparse.Namespace) -> command.Results:
    """Does the search twice.

    Args:
        flags: `threads`, `trials` and `steps`.

    Returns:
        Seconds of both, their ratio, and whether both found the same.
    """
    from benchmarks import machine

    others = machine.OtherWork()
    found = {}
    for name, cache in (("shared", True), ("alone", False)):
        settings = {
            "size": 16,
            "width": 24,
            "blocks": 5,
            "vary": VARY,
            "trials": flags.trials,
            "steps": (flags.steps, flags.steps),
            "threads": flags.threads,
            "block_cache": cache,
        }
        command.tell(f"searching, {flags.trials} trials, block_cache={str(cache).lower()}")
        with apart.Apart("benchmarks.small_search:make", **settings) as search:
            found[name] = search()
    return {
        "benchmark": "shared_blocks",
        **compared(found["shared"], found["alone"]),
        **found,
        "machine": machine.describe(flags.threads, others),
    }


def compared(shared: Mapping[str, Any], alone: Mapping[str, Any]) -> dict[str, Any]:
    """Holds a search whose trials share blocks against one whose trials do not.

    Args:
        shared: what `small_search` found with the cache.
        alone: without.

    Returns:
        Seconds, phases, and whether every trial has the same values and, to the last bit, losses.
    """
    names = ("trial", "values", "status", "loss", "closed_loss")
    results = [
        [tuple(trial[name] for name in names) for trial in search["trials"]]
        for search in (shared, alone)
    ]
    return {
        "seconds_shared": shared["seconds"],
        "seconds_alone": alone["seconds"],
        "share_of_time": shared["seconds"] / alone["seconds"],
        # Other work on the machine does not count in it.
        "share_of_cpu_time": shared["cpu_seconds"] / alone["cpu_seconds"],
        "phases": shared["phases"],
        "phases_reused": shared["phases_reused"],
        "same_results": results[0] == results[1],
    }


if __name__ == "__main__":
    command.run(
        "shared_blocks", "What trials that share blocks save.", measure, add_flags=add_flags
    )
