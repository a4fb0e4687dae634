"""The one trainer of every phase, whatever its span."""

import dataclasses
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.grafting.bank import ViewBank
from kgraft.grafting.batches import Batches, ordered_batches, shuffled_batches
from kgraft.grafting.fake_quant import Int8Emulation
from kgraft.grafting.loop import Measured, Pace, PhaseLoop
from kgraft.grafting.losses import Loss
from kgraft.grafting.precision import student_computes_in
from kgraft.grafting.progress import OnProgress
from kgraft.grafting.schedule import Phase
from kgraft.grafting.span import Objective, Reads, Student, plain_body, state_variables
from kgraft.grafting.step import Meter, Trainer
from kgraft.grafting.strategy import has_several_workers
from kgraft.graph import Chain

# First part of the entropy of training orders, so that they share no stream with draw and views.
_ORDER_PURPOSE = 3
# Where there are several workers all must do as many steps in a call: a sum over workers is
# matched by its place in the call.
_STEPS_PER_WORKERS_CALL = 10
# How many last steps the reported final loss is the mean of.
_LAST_LOSSES = 10


@dataclasses.dataclass(frozen=True)
class PhaseResult:
    """What a phase did.

    Attributes:
        name: the phase's.
        blocks: numbers of the blocks in its span.
        steps: updates done.
        seconds: time it took, compilation included.
        loss_start: training loss before the first update; None where nothing was trained.
        loss_end: mean training loss of the last ten updates; None where nothing was trained.
        heldout_loss_start, heldout_agreement_start: on held-out views before the first update.
        heldout_loss_end, heldout_agreement_end: on held-out views with the weights kept.
        kept_step: the number of updates after which the weights were kept.
        compile_seconds: the part of `seconds` that went into tracing and compiling.
        dtype: what the graft computed in.
        fake_quant: what the student blocks were rounded to while they learned; `none` for nothing.
    """

    name: str
    blocks: tuple[int, ...]
    steps: int
    seconds: float
    loss_start: float | None
    loss_end: float | None
    heldout_loss_start: float
    heldout_loss_end: float
    heldout_agreement_start: float
    heldout_agreement_end: float
    kept_step: int
    compile_seconds: float = 0.0
    dtype: str = "float32"
    fake_quant: str = "none"


def train_phase(
    phase: Phase,
    *,
    chain: Chain,
    student: Student,
    bank: ViewBank,
    heldout: ViewBank,
    loss: Loss,
    feature_weight: float,
    strategy: tf.distribute.Strategy,
    seed: int,
    select: str = "heldout",
    dtype: str = "float32",
    fake_quant: str = "none",
    xla: bool = False,
    on_progress: OnProgress | None = None,
) -> PhaseResult:
    """Trains the student blocks of one span inside the frozen teacher.

    Args:
        phase: span, steps, rates, batch and optimiser.
        chain: the teacher, or inference copies of it (`choose_compute`); none of its variables
            changes. Kept blocks of the student run as its blocks do.
        student: one block for each of the teacher's; only the span's change, in place.
        bank: the training views.
        heldout: views that are measured and never trained on.
        loss: loss on logits, `[batch, classes]` twice to `[batch]`.
        feature_weight: weight of the feature term at the span's cuts and its exit; 0 for none.
        strategy: shares out each batch; the student's variables were made in its scope.
        seed: seed of the training order.
        select: `heldout` keeps the weights of the lowest held-out loss, the start included, out
            of about eight measurements; `last` those of the last step.
        dtype: what the span computes in, `float32` or `bfloat16`; weights are float32 in both.
        fake_quant: `int8` rounds the span's blocks as an int8 file will, in training and where
            weights are chosen; `none` does not.
        xla: compile the steps' arithmetic with XLA, which is for GPUs.
        on_progress: called about once a second and at every measurement.

    Returns:
        Losses, agreement and time.

    Raises:
        KgraftError: the chain and the student have different numbers of blocks, or fewer than
            the phase's span needs.
        KgraftError: a loss is not finite; phase and step are named.
    """
    _check_span(phase, chain, student)
    began = time.monotonic()
    student = _with_blocks_of(chain, student)
    emulation = _emulation(fake_quant, phase, student, bank, strategy=strategy)
    body = emulation.body if emulation else plain_body

    def read(views: ViewBank) -> tuple[Objective, dict[str, tf.Tensor]]:
        reads = Reads.of(phase, views, features=feature_weight > 0)
        settings = (views.preprocess, loss, feature_weight, body)
        return Objective(phase, chain, student, reads, *settings), reads.data(views)

    replicas = strategy.num_replicas_in_sync
    heldout_batches = ordered_batches(len(heldout), batch=phase.batch, replicas=replicas)
    losses: list[float] = []
    with student_computes_in(student[phase.start : phase.stop], dtype):
        loop = PhaseLoop(
            phase,
            trainer=Trainer(*read(bank), strategy=strategy, xla=xla),
            meter=Meter(
                *read(heldout),
                strategy=strategy,
                batches=heldout_batches,
                before=emulation.measure if emulation else None,
            ),
            variables=_span_state(phase, student),
            pace=Pace(_STEPS_PER_WORKERS_CALL if has_several_workers(strategy) else None),
            on_progress=on_progress,
        )
        steps = phase.steps if loop.trainer.trains else 0
        order = training_order(phase, len(bank), steps=steps, replicas=replicas, seed=seed)
        start, kept = keep(loop.measurements(order, losses), select)
    # Also without a change: it puts replicas with statistics of their own back in step.
    _restore(loop.variables, kept.weights)
    result = phase_result(phase, losses, start, kept)
    return dataclasses.replace(
        result,
        seconds=time.monotonic() - began,
        compile_seconds=loop.compile_seconds,
        dtype=dtype,
        fake_quant=fake_quant,
    )


def _emulation(
    fake_quant: str,
    phase: Phase,
    student: Student,
    bank: ViewBank,
    *,
    strategy: tf.distribute.Strategy,
) -> Int8Emulation | None:
    if fake_quant == "none":
        return None
    return Int8Emulation(phase, student, bank, strategy=strategy)


def _with_blocks_of(chain: Chain, student: Student) -> Student:
    """Lets kept blocks run as the chain's do, which may be faster copies."""
    return tuple(
        dataclasses.replace(block, body=chain.blocks[block.index].graph) if block.kept else block
        for block in student
    )


def _check_span(phase: Phase, chain: Chain, student: Student) -> None:
    if len(student) != len(chain.blocks) or phase.stop > len(student):
        raise KgraftError(
            f"phase {phase.name} grafts blocks up to {phase.stop - 1}; the teacher has "
            f"{len(chain.blocks)} blocks and the student {len(student)}"
        )


def _span_state(phase: Phase, student: Student) -> list[Any]:
    span = student[phase.start : phase.stop]
    return [v for block in span for part in state_variables(block).values() for v in part]


def _restore(variables: list[Any], weights: list[np.ndarray]) -> None:
    for variable, value in zip(variables, weights, strict=True):
        variable.assign(value)


def keep(
    measured: Iterable[Measured], select: str, *, settled: int = 0
) -> tuple[Measured, Measured]:
    """Trains to the end and chooses the weights that are kept; others are let go on the way.

    Args:
        measured: the measurements as they are made, at least one of them settled.
        select: `heldout` for the lowest held-out loss, `last` for the last.
        settled: the step from which on weights may be kept.

    Returns:
        The first measurement, without its weights, and that of the weights kept.
    """
    start: Measured | None = None
    kept: Measured | None = None
    for found in measured:
        start = start or dataclasses.replace(found, weights=[])
        better = kept is None or select == "last" or found.loss < kept.loss
        if found.step >= settled and better:
            kept = found
    assert start is not None and kept is not None
    return start, kept


def training_order(phase: Phase, views: int, *, steps: int, replicas: int, seed: int) -> Batches:
    """Makes the batches of a phase, the same for one seed wherever it is trained.

    Args:
        phase: its name and batch.
        views: how many views there are.
        steps: how many updates.
        replicas: how many share each batch.
        seed: of the run.
    """
    return shuffled_batches(
        views,
        batch=phase.batch,
        steps=steps,
        replicas=replicas,
        seed=(seed, _ORDER_PURPOSE, zlib.crc32(phase.name.encode())),
    )


def phase_result(
    phase: Phase, losses: Sequence[float], start: Measured, kept: Measured
) -> PhaseResult:
    """Says what a phase did, but for the time it took.

    Args:
        phase: the phase.
        losses: of each update.
        start: measured before the first.
        kept: what belongs to the weights kept.
    """
    return PhaseResult(
        name=phase.name,
        blocks=phase.blocks,
        steps=len(losses),
        seconds=0.0,
        loss_start=losses[0] if losses else None,
        loss_end=float(np.mean(losses[-_LAST_LOSSES:])) if losses else None,
        heldout_loss_start=start.loss,
        heldout_loss_end=kept.loss,
        heldout_agreement_start=start.agreement,
        heldout_agreement_end=kept.agreement,
        kept_step=kept.step,
    )
