"""The paper's whole CIFAR-10 schedule: kgraft against the published procedure.

    python -m benchmarks.distillation --json

840 updates over five phases on 100 images of 32x32. Published: PyTorch, batches of 64 and of 36 in
turn (two an epoch, as 100 images give), without loading, augmentation and the test after each
epoch; some updates of each phase are timed and multiplied up, or all of them with `--full`. kgraft:
a whole run of configs/cifar10_paper.flags from images and teacher to the fused student, timed as it
is: views, the teacher's run over them, the student's start, compiling, as many updates in the same
phases on batches of 64, held-out measuring, checkpoints, fusing. Its start is random as the
paper's; a start from the teacher is run too. Both take turns, PyTorch in a process of its own.

Weights are random and images are noise. Neither side's time has the import of its library in it.
"""

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from benchmarks import apart, command, paper
from benchmarks.step import published_schedule
from kgraft.cli import distill_flags
from kgraft.config import PRECISIONS, RunConfig

_FLAGFILE = Path(__file__).parents[1] / "configs" / "cifar10_paper.flags"
_STARTS = ("random", "teacher")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this benchmark."""
    parser.add_argument("--rounds", type=command.positive, default=3, help="turns of each side")
    parser.add_argument(
        "--updates",
        type=command.positive,
        default=4,
        help="updates of each phase that PyTorch does in a turn; an even number",
    )
    parser.add_argument("--full", action="store_true", help="all 840 updates in PyTorch, once")
    parser.add_argument(
        "--views", type=command.positive, help="views of an image; those of the flagfile"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="what kgraft computes in"
    )


def measure(flags: argparse.Namespace) -> command.Results:
    """Measures both sides in turn.

    Args:
        flags: `threads` and those of `add_flags`.

    Returns:
        Seconds of the whole schedule, their ratios, and kgraft's seconds by part.
    """
    from benchmarks import arithmetic, machine

    machine.set_threads(flags.threads)
    others = machine.OtherWork()
    updates = [phase.updates if flags.full else flags.updates for phase in paper.PHASES]
    published: list[list[float]] = []
    runs: dict[str, list[Any]] = {start: [] for start in _STARTS}
    with published_schedule(paper.IMAGES, flags.threads) as schedule:
        for number in range(1 if flags.full else flags.rounds):
            command.tell(f"round {number + 1}: PyTorch, {sum(updates)} updates")
            published.append(_published_seconds(schedule, updates))
            for start in _STARTS:
                command.tell(f"round {number + 1}: kgraft, start {start}")
                runs[start].append(_kgraft_run(start, flags))
    seconds = {
        "published_s": published_total(published),
        **{
            f"kgraft_{start}_s": statistics.median([run.total for run in runs[start]])
            for start in _STARTS
        },
    }
    return {
        "benchmark": "distillation",
        "updates": sum(phase.updates for phase in paper.PHASES),
        **seconds,
        **arithmetic.ratios(
            seconds,
            of={"ratio": "published_s"},
            to={start: f"kgraft_{start}_s" for start in _STARTS},
        ),
        "published_extrapolated": not flags.full,
        "published_updates_timed": sum(updates) * len(published),
        "precision": flags.precision,
        "views": runs[_STARTS[0]][0].views,
        "student_parameters": runs[_STARTS[0]][0].parameters,
        "published_ms_by_phase": {
            phase.name: 1000 * statistics.median([times[i] for times in published])
            for i, phase in enumerate(paper.PHASES)
        },
        "kgraft_seconds_by_part": {s: [run.seconds for run in runs[s]] for s in _STARTS},
        "machine": machine.describe(flags.threads, others),
    }


def published_total(rounds: list[list[float]]) -> float:
    """Multiplies timed updates up to the paper's schedule.

    Args:
        rounds: seconds per update of each phase, one list a round.

    Returns:
        Seconds of the whole schedule, from the median of each phase.
    """
    medians = [statistics.median(list(times)) for times in zip(*rounds, strict=True)]
    return sum(
        phase.updates * seconds for phase, seconds in zip(paper.PHASES, medians, strict=True)
    )


def _published_seconds(schedule: apart.Apart, updates: list[int]) -> list[float]:
    return [schedule(phase=number, updates=count) for number, count in enumerate(updates)]


def paper_config(folder: Path, start: str, flags: argparse.Namespace) -> RunConfig:
    """Returns the settings of configs/cifar10_paper.flags for images in a file.

    Args:
        folder: with `images.npz`; the work folder is made in it.
        start: the student's start.
        flags: `precision` and `views`.
    """
    values = absl_flags.FlagValues()
    distill_flags.define_flags(values)
    own = [f"--start={start}", f"--precision={flags.precision}"]
    own += [f"--views={flags.views}"] if flags.views else []
    values(["kgraft-distill", f"--flagfile={_FLAGFILE}", *own, f"--workdir={folder}/run"])
    config = distill_flags.build_config(values)
    data = dataclasses.replace(
        config.data,
        dataset=f"npz:{folder}/images.npz",
        shots=None,
        images=paper.IMAGES,
        mixed_views=0,
        eval_dataset=None,
    )
    return dataclasses.replace(config, data=data)


def _kgraft_run(start: str, flags: argparse.Namespace) -> Any:
    import numpy as np

    from benchmarks import whole
    from kgraft.zoo import build

    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (paper.IMAGES, *paper.IMAGE_SHAPE), np.uint8)
        np.savez(Path(folder, "images.npz"), images=images)
        config = paper_config(Path(folder), start, flags)
        return whole.distill_to_fused(config, build("cifar_vgg16"))


if __name__ == "__main__":
    command.run(
        "distillation",
        "The paper's whole schedule against PyTorch.",
        measure,
        add_flags=add_flags,
        torch=True,
    )
