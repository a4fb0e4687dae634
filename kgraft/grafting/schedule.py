"""The graft schedule: a tuple of phases, each a span to graft and how to train it."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from kgraft.config import TrainConfig
from kgraft.errors import KgraftError


@dataclasses.dataclass(frozen=True)
class Phase:
    """One piece of training.

    Attributes:
        name: `one/block3` or `two/blocks3-4`, unique within a schedule.
        start, stop: the span, blocks `start` up to and without `stop`.
        steps: updates; 0 measures and trains nothing.
        block_rate, adapter_rate: learning rates of the blocks and of their adapters.
        batch: views per update, over all replicas.
        optimizer: `adam` or `sgd`.
        decay: `cosine` or `constant`.
        stage: 1 for single blocks, 2 for growing spans.
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


def _phase(name: str, start: int, last: int, *, stage: int, train: TrainConfig) -> Phase:
    one = stage == 1
    return Phase(
        name=name,
        start=start,
        stop=last + 1,
        steps=train.steps[stage - 1],
        block_rate=train.block_rate if one else train.block_rate_two,
        adapter_rate=train.adapter_rate if one else train.adapter_rate_two,
        batch=train.batch,
        optimizer=train.optimizer,
        decay=train.decay,
        stage=stage,
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
    """
    blocks = sorted(grafted)
    if len(set(blocks)) != len(blocks) or any(block < 0 for block in blocks):
        raise KgraftError(f"grafted blocks must be different numbers from 0; got {tuple(grafted)}")
    if train.order == "forward":
        spans = [(blocks[0], last) for last in blocks[1:]]
    else:
        spans = [(first, blocks[-1]) for first in reversed(blocks[:-1])]
    one = [_phase(f"one/block{b}", b, b, stage=1, train=train) for b in blocks]
    two = [_phase(f"two/blocks{a}-{b}", a, b, stage=2, train=train) for a, b in spans]
    return (*one, *two)


def positions_wanted(phases: Iterable[Phase], *, features: bool) -> tuple[int, ...]:
    """Lists the cut positions that training reads, the most rewarding to cache first.

    A cached position saves the teacher's work in front of it at every step that reads it, so the
    order is by steps, then by depth.

    Args:
        phases: the graft schedule.
        features: whether the loss has a feature term, which reads the exit of every span.

    Returns:
        Positions above 0; position 0 is the views themselves and costs nothing.
    """
    steps: collections.Counter[int] = collections.Counter()
    for phase in phases:
        steps[phase.start] += phase.steps
        if features:
            steps[phase.stop] += phase.steps
    return tuple(sorted((p for p in steps if p > 0), key=lambda p: (-steps[p], -p)))
