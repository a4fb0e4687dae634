"""kgraft's side of the measurements: the paper's CIFAR-10 setting on the product's own path."""

import dataclasses
import functools
import queue
import threading
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.arithmetic import step_macs
from benchmarks.paper import BATCH, PaperPhase
from kgraft.errors import KgraftError
from kgraft.grafting import (
    Phase,
    PhaseResult,
    Progress,
    ViewBank,
    choose_compute,
    make_loss,
    make_strategy,
    positions_wanted,
    train_phase,
)
from kgraft.graph import Chain, logits_graph, split_chain, trace_model
from kgraft.students import Start, StudentBlock, assign_recipes, make_student
from kgraft.zoo import build

CUTS = ("block1_pool", "block2_pool", "block3_pool", "block4_pool", "block5_pool")
# The two wide blocks at half width, the head with the inputs that leaves: the paper's student.
GRAFT = "3-4,5=width:1"
_ENOUGH_MB = 1024.0
# One call compiles, one of a single step finds the pace, one has its length.
_WARM_UP_CALLS = 3


@dataclasses.dataclass(frozen=True)
class Setting:
    """Teacher and student of the paper's CIFAR-10 experiment, with random weights.

    Attributes:
        chain: the teacher.
        student: the student blocks, changed in place by training.
        strategy: what the student was made under.
    """

    chain: Chain
    student: tuple[StudentBlock, ...]
    strategy: tf.distribute.Strategy

    @staticmethod
    def make() -> "Setting":
        """Builds them: 14,983,498 parameters, and 5,412,682 of the student when it is fused."""
        keras.utils.set_random_seed(0)
        graph, _ = logits_graph(trace_model(build("cifar_vgg16")), "auto")
        chain = split_chain(graph, CUTS)
        recipes = assign_recipes(GRAFT, "width:0.5", len(chain.blocks))
        start = Start("random", lambda position, count: np.empty(0), 0)
        strategy = make_strategy("auto")
        with strategy.scope():
            return Setting(chain, make_student(chain, recipes, start), strategy)


@dataclasses.dataclass(frozen=True)
class Banks:
    """What training reads.

    Attributes:
        views: the training views.
        heldout: the held-out views.
    """

    views: ViewBank
    heldout: ViewBank

    @staticmethod
    def fill(
        setting: Setting, pixels: Sequence[np.ndarray], phases: Sequence[Phase], *, cached: bool
    ) -> "Banks":
        """Runs the teacher over the views.

        Args:
            setting: teacher and student.
            pixels: training and held-out views, uint8 `[n, height, width, channels]`.
            phases: what the banks are for.
            cached: whether the activations that the phases read are kept.
        """
        positions = positions_wanted(phases, features=False)
        size = _ENOUGH_MB if cached else 0
        views, heldout = (
            ViewBank(x, chain=setting.chain, cache_mb=size, positions=positions) for x in pixels
        )
        return Banks(views, heldout)


def make_phase(phase: PaperPhase, *, steps: int) -> Phase:
    """Makes kgraft's phase of one of the paper's.

    Args:
        phase: the paper's.
        steps: updates in the place of the paper's.
    """
    return Phase(
        name=phase.name,
        start=phase.start,
        stop=phase.stop,
        steps=steps,
        block_rate=phase.block_rate,
        adapter_rate=phase.adapter_rate,
        batch=BATCH,
        decay="constant",
        stage=phase.stage,
    )


class _Enough(Exception):  # noqa: N818 - no error, the way out of training
    """Measuring is over."""


class ProductPhase:
    """`train_phase` in turns: a thread that does one compiled call of updates and then waits.

    The time is the product's own, of the call alone: without compiling, held-out measuring and
    waiting.
    """

    def __init__(self, setting: Setting, phase: Phase, banks: Banks, *, precision: str) -> None:
        """Starts training and goes on until the pace of a call is known.

        Args:
            setting: teacher and student.
            phase: which span; it needs more updates than will be measured.
            banks: what the steps read.
            precision: as `--precision` has it.
        """
        self._turns: queue.Queue[bool] = queue.Queue()
        self._answers: queue.Queue[float | BaseException] = queue.Queue()
        with setting.strategy.scope():
            compute = choose_compute(precision, setting.chain, banks.heldout)
        self.dtype = compute.dtype
        training = functools.partial(
            train_phase,
            phase,
            chain=compute.chain,
            student=setting.student,
            bank=banks.views,
            heldout=banks.heldout,
            loss=make_loss("normalized_mse"),
            feature_weight=0.0,
            strategy=setting.strategy,
            seed=0,
            dtype=compute.dtype,
            on_progress=self._on_progress,
        )
        self._thread = threading.Thread(target=self._train, args=(training,), daemon=True)
        self._thread.start()
        for _ in range(_WARM_UP_CALLS):
            self()

    def __call__(self) -> float:
        """Does one compiled call of updates, about a second of them.

        Returns:
            Seconds per update.
        """
        self._turns.put(True)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __enter__(self) -> "ProductPhase":
        return self

    def __exit__(self, *_: object) -> None:
        self._turns.put(False)
        self._thread.join()

    def _train(self, training: Callable[[], PhaseResult]) -> None:
        try:
            self._wait()
            training()
            raise KgraftError("expected a phase of more updates than are measured; it has ended")
        except _Enough:
            return
        except BaseException as error:
            self._answers.put(error)

    def _on_progress(self, progress: Progress) -> None:
        if len(progress.losses):
            self._answers.put(progress.seconds_per_step or 0.0)
            self._wait()

    def _wait(self) -> None:
        if not self._turns.get():
            raise _Enough


def required_macs(setting: Setting, phase: Phase, *, padding: bool) -> int:
    """Counts the multiply-adds of one cached training step for one view.

    Args:
        setting: teacher and student.
        phase: which span.
        padding: count products with the zeros around an image too, as papers do.
    """
    blocks = setting.student[phase.start : phase.stop]
    span = [part for b in blocks for part in (b.entry, b.body, b.exit) if part is not None]
    suffix = [block.graph for block in setting.chain.blocks[phase.stop :]]
    return step_macs(span, suffix, padding=padding)
