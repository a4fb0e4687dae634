"""A whole distillation on the product's own path, up to the fused student."""

import dataclasses
from pathlib import Path

import keras

from kgraft.config import RunConfig
from kgraft.grafting import PhaseResult, fuse, make_strategy
from kgraft.pipeline.job import fill_banks, open_job
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.training import open_checkpoints, start_student, train_student
from kgraft.pipeline.workdir import start_workdir


@dataclasses.dataclass(frozen=True)
class WholeRun:
    """What a distillation took.

    Attributes:
        seconds: wall time by part, `rest` included.
        phases: what each phase did.
        parameters: of the fused student.
        views: training and held-out views.
    """

    seconds: dict[str, float]
    phases: tuple[PhaseResult, ...]
    parameters: int
    views: int

    @property
    def total(self) -> float:
        """Wall time of all parts."""
        return sum(self.seconds.values())


def distill_to_fused(config: RunConfig, teacher: keras.Model) -> WholeRun:
    """Does what `kgraft.distill` does before it exports: images and teacher to fused student.

    Args:
        config: the settings; the work folder must be new or empty.
        teacher: the teacher.

    Returns:
        Seconds by part and what came out.
    """
    watch = Stopwatch()
    strategy = make_strategy(config.train.strategy)
    with strategy.scope():
        job = open_job(config, watch, teacher)
        checkpoints = open_checkpoints(job, config, strategy=strategy)
        start_workdir(Path(config.workdir))
        checkpoints.claim()
        banks = fill_banks(job, config, watch)
        student = start_student(job, config, banks.train, checkpoints=checkpoints, watch=watch)
    results = train_student(
        job,
        student,
        config,
        banks=banks,
        strategy=strategy,
        checkpoints=checkpoints,
        watch=watch,
    )
    with watch.part("fuse", "fusing the student"):
        fused = fuse(student)
    views = len(banks.train) + len(banks.heldout)
    return WholeRun(watch.whole(), results, fused.graph.parameters, views)
