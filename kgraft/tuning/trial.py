"""One trial: a candidate weighed, solved, judged, trained and judged again."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from kgraft.config import RunConfig
from kgraft.grafting import PhaseResult, fuse
from kgraft.grafting.release import releasing_graphs
from kgraft.graph import Graph, total_macs
from kgraft.pipeline.job import Job, make_blocks
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.training import train_student
from kgraft.students import StudentBlock, make_from_teacher
from kgraft.tuning.bench import Bench, Filled
from kgraft.tuning.block_cache import PhaseCache, StartCache
from kgraft.tuning.candidate import recipe_text
from kgraft.tuning.costs import CostBook
from kgraft.tuning.flagfile import flag_lines
from kgraft.tuning.objective import Quality, over_budget, refused_score, trained_score
from kgraft.tuning.prune import hopeless
from kgraft.tuning.records import PRUNED, REFUSED, START, TRAINED, TrialRecord, TrialStore

# Settings that a trained block depends on, beside its phase and its weights.
_TRAINING = ("loss", "temperature", "feature_weight", "select", "fake_quant", "xla")


class Laboratory:
    """Does trials.

    Attributes:
        bench: what all trials share.
        store: the records of those that are done.
    """

    def __init__(
        self, bench: Bench, store: TrialStore, workdir: pathlib.Path, *, worker: str = ""
    ) -> None:
        """Takes what all trials share.

        Args:
            bench: teacher, views and judge.
            store: the records.
            workdir: the work folder of the search.
            worker: name of this process, for the records.

        Raises:
            KgraftError: the teacher cannot be converted to be timed.
        """
        self.bench, self.store = bench, store
        self.costs = CostBook(workdir / "costs", bench.start.chain.graph)
        self._workdir, self._worker = workdir, worker

    @releasing_graphs()
    def attempt(
        self,
        trial: str,
        values: dict[str, Any],
        run: RunConfig,
        *,
        model: keras.Model,
        part: float = 1.0,
    ) -> tuple[TrialRecord, Graph | None]:
        """Does a trial as far as it is worth doing.

        Args:
            trial: its name.
            values: what the tuner chose.
            run: the settings of the run it stands for.
            model: a student of its shape with any weights.
            part: share of the phases to train.

        Returns:
            Its record, and the fused student where one was trained.

        Raises:
            KgraftError: the student cannot be made or trained.
        """
        began = time.monotonic()
        config = self.bench.config
        job = self.bench.job(run)
        costs = self.costs.of(job, model)
        record = TrialRecord(
            trial,
            REFUSED,
            values,
            flags=tuple(flag_lines(run)),
            latency_ms=costs.latency_ms,
            bytes=costs.bytes,
            macs=costs.macs,
            shares=dict(costs.shares),
            part=part,
            worker=self._worker,
        )
        excess = over_budget(costs, config)
        if excess and trial != START:
            record = dataclasses.replace(record, score=refused_score(excess, config))
            return _timed(record, began), None
        filled = self.bench.banks(job, run)
        student = self._start(job, run, filled)
        closed = self.bench.judge(fuse(student).graph)
        record = dataclasses.replace(
            record,
            status=PRUNED,
            closed_agreement=closed.agreement,
            closed_loss=closed.loss,
            closed_accuracy=closed.accuracy,
            blocks=block_shares(job, student),
        )
        why = hopeless(closed, costs, self.store.records(), config) if trial != START else None
        if why is not None:
            value = trained_score(closed, costs, config)
            record = _judged(dataclasses.replace(record, error=why), closed, value)
            return _timed(record, began), None
        phases, quality, fused = self._train(job, run, filled, student, trial=trial, part=part)
        value = trained_score(quality, costs, config)
        record = dataclasses.replace(
            _judged(record, quality, value),
            status=TRAINED,
            phases=phases,
            # Rounded up: a ninth of one phase is all of it.
            part=len(phases) / len(job.phases),
        )
        return _timed(record, began), fused

    def _start(self, job: Job, run: RunConfig, filled: Filled) -> tuple[StudentBlock, ...]:
        cache = StartCache(self._blocks(), self._depends(job, filled))
        # Where stage one trains nothing the blocks are solved once more, as a connected whole.
        trains = any(phase.steps for phase in job.phases if phase.stage == 1)
        make = cache if trains and self.bench.config.block_cache else make_from_teacher
        with self.bench.strategy.scope():
            return make_blocks(job, run, filled.banks.train, Stopwatch(say=None), make=make)

    def _train(
        self,
        job: Job,
        run: RunConfig,
        filled: Filled,
        student: tuple[StudentBlock, ...],
        *,
        trial: str,
        part: float,
    ) -> tuple[tuple[dict[str, Any], ...], Quality, Graph]:
        """Trains a part of the phases and judges the student that comes of it."""
        job = dataclasses.replace(job, phases=job.phases[: math.ceil(part * len(job.phases))])
        depends = {
            **self._depends(job, filled),
            "start": run.student.start,
            "training": {name: getattr(run.train, name) for name in _TRAINING},
            "seed": run.data.seed,
        }
        own = "" if self.bench.config.block_cache else trial
        cache = PhaseCache(
            self._blocks() / own,
            job.phases,
            student,
            recipes=[recipe_text(recipe) for recipe in job.recipes],
            settings=depends,
        )
        results = train_student(
            job,
            student,
            dataclasses.replace(run, workdir=str(self._workdir / "logs" / trial)),
            banks=filled.banks,
            strategy=self.bench.strategy,
            checkpoints=cache,  # type: ignore[arg-type]
            watch=Stopwatch(say=None),
        )
        fused = fuse(student).graph
        return _phase_records(results, cache.reused), self.bench.judge(fused), fused

    def _depends(self, job: Job, filled: Filled) -> dict[str, Any]:
        cuts = list(job.chain.cuts)
        compute = filled.banks.compute.dtype
        return {
            "teacher": self.bench.hashes["teacher_sha256"],
            "cuts": cuts,
            "views": filled.sha256,
            "dtype": compute,
        }

    def _blocks(self) -> pathlib.Path:
        return self._workdir / "blocks"


def block_shares(job: Job, student: Sequence[StudentBlock]) -> tuple[dict[str, Any], ...]:
    """Says what each replaced block has become.

    Args:
        job: has the teacher's blocks and the recipes.
        student: the student blocks.

    Returns:
        Number, recipe, and multiply-adds as a share of the teacher's block.
    """
    return tuple(
        {
            "block": block.index,
            "recipe": recipe_text(job.recipes[block.index]),
            "macs_share": total_macs(block.body)
            / max(1, total_macs(job.chain.blocks[block.index].graph)),
        }
        for block in student
        if not block.kept
    )


def _phase_records(results: Iterable[PhaseResult], reused: set[str]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "name": result.name,
            "blocks": list(result.blocks),
            "seconds": result.seconds,
            "reused": result.name in reused,
            "heldout_agreement_start": result.heldout_agreement_start,
            "heldout_agreement_end": result.heldout_agreement_end,
            "kept_step": result.kept_step,
        }
        for result in results
    )


def _judged(record: TrialRecord, quality: Quality, value: float) -> TrialRecord:
    return dataclasses.replace(
        record,
        agreement=quality.agreement,
        loss=quality.loss,
        accuracy=quality.accuracy,
        score=value,
    )


def _timed(record: TrialRecord, began: float) -> TrialRecord:
    return dataclasses.replace(record, seconds=time.monotonic() - began)
