"""The graft schedule: a tuple of phases, each a span to graft and how to train it."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from kgraft.config import TrainConfig
from kgraft.errors import KgraftError
from kgraft.phases import Span, list_spans


@dataclasses.dataclass(frozen=True)
class Phase:
    """One piece of training.

    Attributes:
        name: `one/block3`, `two/blocks3-4` or `three/prune`, unique within a schedule.
        start, stop: the span, blocks `start` up to and without `stop`.
        steps: updates; 0 measures and trains nothing.
        block_rate, adapter_rate: learning rates of the blocks and of their adapters.
        batch: views per update, over all replicas.
        optimizer: `adam`, `muon` or `sgd`.
        decay: `cosine` or `constant`.
        stage: 1 for single blocks, 2 for growing spans, 3 for compressing the fused student.
    """

    name: str
    start: int
    stop: int
    steps: int
    block_rate: float
    adapter_rate: float
    batch: int = 64
    optimizer: str = "adam"
    decay: str = "cosine"
    stage: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise KgraftError(
                f"a phase needs 0 <= start < stop; {self.name} has {self.start} and {self.stop}"
            )

    @property
    def blocks(self) -> tuple[int, ...]:
        """The numbers of the blocks in the span."""
        return tuple(range(self.start, self.stop))


def _phase(span: Span, train: TrainConfig, *, steps: int, block_rate: float) -> Phase:
    one = span.stage == 1
    return Phase(
        name=span.name,
        start=span.first,
        stop=span.last + 1,
        steps=steps,
        block_rate=block_rate,
        adapter_rate=train.adapter_rate if one else train.adapter_rate_two,
        batch=train.batch,
        optimizer=train.optimizer,
        decay=train.decay,
        stage=span.stage,
    )


def graft_schedule(grafted: Sequence[int], train: TrainConfig) -> tuple[Phase, ...]:
    """Makes the paper's two stages: every block alone, then spans that grow until all are in.

    Args:
        grafted: numbers of the blocks that are replaced.
        train: steps, rates, batch, optimiser, and the end that stage two grows from.

    Returns:
        The phases in the order they are trained. Kept blocks between two grafted ones lie inside
        a stage-two span and stay frozen. A single grafted block has no stage two.

    Raises:
        KgraftError: a block is listed twice, or below 0.
        KgraftError: there are several numbers of steps or rates, and not as many as there are
            phases or replaced blocks.
    """
    blocks = sorted(grafted)
    if len(set(blocks)) != len(blocks) or any(block < 0 for block in blocks):
        raise KgraftError(f"grafted blocks must be different numbers from 0; got {tuple(grafted)}")
    spans = list_spans(blocks, train.order)
    numbers = zip(spans, _steps(train, spans), _block_rates(train, spans), strict=True)
    return tuple(_phase(span, train, steps=n, block_rate=rate) for span, n, rate in numbers)


def _steps(train: TrainConfig, spans: Sequence[Span]) -> tuple[int, ...]:
    """The updates of every phase."""
    if len(train.steps) == 2:
        return tuple(train.steps[span.stage - 1] for span in spans)
    if len(train.steps) != len(spans):
        raise KgraftError(
            f"--steps must be one number, two, or one for each of the {len(spans)} phases; got "
            f"{len(train.steps)}"
        )
    return tuple(train.steps)


def _block_rates(train: TrainConfig, spans: Sequence[Span]) -> tuple[float, ...]:
    """The rate of the blocks in every phase."""
    count = sum(span.stage == 1 for span in spans)
    ones = train.block_rate if isinstance(train.block_rate, tuple) else (train.block_rate,) * count
    if len(ones) != count:
        raise KgraftError(
            f"--block_rate must be one number, or one for each of the {count} replaced blocks; "
            f"got {len(ones)}"
        )
    return (*ones, *(train.block_rate_two,) * (len(spans) - count))


def earlier_phases(phase: Phase, phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Finds the phases that another one goes on from.

    A phase reads and changes the student blocks of its span and no others, so that these are the
    earlier ones that have a block in common with it; all others may be trained at the same time.

    Args:
        phase: the phase.
        phases: a part of the graft schedule or all of it, in order.

    Returns:
        Those in front of it in `phases` whose spans overlap its own.
    """
    before = itertools.takewhile(lambda other: other.name != phase.name, phases)
    return tuple(p for p in before if p.start < phase.stop and phase.start < p.stop)


def positions_wanted(phases: Iterable[Phase], *, features: bool) -> tuple[int, ...]:
    """Lists the cut positions that training reads, the most rewarding to cache first.

    Where a run starts, a cached position saves all of the teacher's work in front of it, as a
    target of the feature term at most a block's: the order is by steps that start there, then by
    steps that read it as a target, then by depth.

    Args:
        phases: the graft schedule.
        features: whether the loss has a feature term, which reads every cut in a span and at its
            exit.

    Returns:
        Positions above 0; position 0 is the views themselves and costs nothing.
    """
    starts: collections.Counter[int] = collections.Counter()
    targets: collections.Counter[int] = collections.Counter()
    for phase in phases:
        starts[phase.start] += phase.steps
        for position in range(phase.start + 1, phase.stop + 1) if features else ():
            targets[position] += phase.steps
    wanted = {*starts, *targets} - {0}
    return tuple(sorted(wanted, key=lambda p: (-starts[p], -targets[p], -p)))
