"""What a run works on: everything opened and checked before anything is written or trained."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import keras
import numpy as np

from kgraft.config import RunConfig
from kgraft.data.preprocess import preprocess
from kgraft.errors import KgraftError
from kgraft.export import check_labels
from kgraft.grafting import (
    Compute,
    Phase,
    ViewBank,
    check_xla,
    choose_compute,
    graft_schedule,
    positions_wanted,
)
from kgraft.graph import Chain, graph_sha256
from kgraft.pipeline.apart import check_drawn_apart
from kgraft.pipeline.stopwatch import Stopwatch, tell
from kgraft.pipeline.teacher import OpenedTeacher, open_own_student, open_teacher
from kgraft.pipeline.test_set import TestSet, check_test_set, open_test_set
from kgraft.pipeline.transfer import Transfer, class_names, open_transfer
from kgraft.students import (
    Maker,
    Recipe,
    Start,
    StudentBlock,
    assign_recipes,
    check_own,
    make_from_teacher,
    make_student,
    solve_connected,
)

# With fewer views one class may well be right.
_FEW_VIEWS = 8


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run works on.

    Attributes:
        teacher: the teacher, cut.
        own: a user's own student, cut, or None.
        recipes: one per block.
        phases: the graft schedule.
        transfer: transfer images and views.
        test: the test set of the report, or None.
        names: names of the logits, or None.
    """

    teacher: OpenedTeacher
    own: Chain | None
    recipes: tuple[Recipe, ...]
    phases: tuple[Phase, ...]
    transfer: Transfer
    test: TestSet | None
    names: tuple[str, ...] | None

    @property
    def chain(self) -> Chain:
        """The teacher's blocks."""
        return self.teacher.chain


def open_job(config: RunConfig, watch: Stopwatch, model: keras.Model | None = None) -> Job:
    """Opens and checks all input of a run.

    Args:
        config: the settings.
        watch: times the parts.
        model: a loaded teacher that takes the place of the configured one.

    Raises:
        KgraftError: anything that cannot be worked with.
    """
    check_xla(config.train.xla)
    with watch.part("teacher", f"opening the teacher {config.teacher.source}"):
        teacher = open_teacher(config.teacher, model)
        # Refuses a preprocessing that is for other images than the teacher's.
        preprocess(np.zeros(teacher.chain.graph.input_shape[1:], np.uint8), teacher.preprocess)
        # Fresh weights, here and later, come from Keras's global generators.
        keras.utils.set_random_seed(config.data.seed)
        own = open_own_student(config.student, teacher, seed=config.data.seed)
        if own is not None:
            check_own(teacher.chain, own)
        graph = teacher.chain.graph
        recipes = assign_recipes(
            config.student.graft,
            config.student.source,
            len(teacher.chain.blocks),
            keep_all=bool(config.compress.techniques),
        )
        grafted = [index for index, recipe in enumerate(recipes) if recipe.kind != "keep"]
        phases = graft_schedule(grafted, config.train)
    with watch.part("data", f"drawing transfer images from {config.data.dataset}"):
        test = open_test_set(config.data, graph)
        transfer = open_transfer(config.data, graph)
        check_drawn_apart(config.data, transfer, test)
        names = class_names(config.data, transfer.images, test, teacher.classes)
        # The export would refuse them, after training.
        check_labels(names, teacher.classes)
        if test is not None:
            check_test_set(test, transfer.size, names, classes=teacher.classes)
    return Job(teacher, own, recipes, phases, transfer, test, names)


def own_sha256(job: Job) -> dict[str, str]:
    """Returns the hash of the user's own student, by the name it has among settings.

    Args:
        job: the input of a run; without such a student there is nothing to hash.
    """
    return {} if job.own is None else {"student_sha256": graph_sha256(job.own.graph)}


class Banks(NamedTuple):
    """What training reads.

    Attributes:
        train: the training views.
        heldout: the held-out views, with what the teacher itself says of them.
        compute: the copies of the teacher that ran over the training views, and that train.
    """

    train: ViewBank
    heldout: ViewBank
    compute: Compute


def fill_banks(job: Job, config: RunConfig, watch: Stopwatch) -> Banks:
    """Runs the teacher once over all views.

    Args:
        job: the input of the run.
        config: the settings.
        watch: times the part.

    Returns:
        Both banks, and what the precision was chosen to be by the held-out one.

    Raises:
        KgraftError: the teacher cannot compute in the precision asked for, or its logits are not
            finite.
    """
    train, transfer = config.train, job.transfer
    positions = positions_wanted(job.phases, features=train.feature_weight > 0)
    count = len(transfer.views)

    def fill(views: np.ndarray, chain: Chain) -> ViewBank:
        part = len(views) / (count + len(transfer.heldout))
        return ViewBank(
            views,
            chain=chain,
            preprocess=job.teacher.preprocess,
            cache_mb=train.cache_mb * part,
            cache_dtype=train.cache_dtype,
            spill_mb=train.spill_mb * part,
            spill_folder=config.workdir,
            positions=positions,
        )

    of_them = f" ({transfer.mixed} of them mixed)" if transfer.mixed else ""
    what = f"running the teacher over {count} views{of_them} and the held-out ones"
    with watch.part("bank", what):
        heldout = fill(transfer.heldout, job.chain)
        try:
            _check_finite(heldout)
            _warn_of_one_class(heldout)
            compute = choose_compute(train.precision, job.chain, heldout)
            bank = fill(transfer.views, compute.chain)
        except BaseException:
            heldout.close()
            raise
    for note in _cache_notes(job.chain, bank, positions):
        tell(note)
    return Banks(bank, heldout, compute)


def _check_finite(heldout: ViewBank) -> None:
    """Refuses a teacher that nothing can be learned from, before anything is."""
    bad = int(np.sum(~np.isfinite(heldout.logits).all(axis=-1)))
    if bad:
        raise KgraftError(
            f"the teacher's logits are not finite on {bad} of {len(heldout)} held-out views: "
            "expected a trained model whose weights are finite, and --preprocess to be what it "
            "was trained on"
        )


def _warn_of_one_class(heldout: ViewBank) -> None:
    """Tells of a teacher that names one class whatever it sees: agreement with it says nothing."""
    named = np.unique(heldout.logits.argmax(axis=-1))
    if len(named) == 1 and len(heldout) >= _FEW_VIEWS:
        tell(
            f"the teacher names class {named[0]} on each of the {len(heldout)} held-out views: "
            "where the images are of several classes, check --preprocess and the teacher, because "
            "a student can agree with such a teacher and be of no use"
        )


def _cache_notes(chain: Chain, bank: ViewBank, positions: tuple[int, ...]) -> list[str]:
    """Says what is not simply in memory, one line a kind."""

    def cuts(chosen: Iterable[int]) -> str:
        return ", ".join(chain.cuts[position - 1] for position in sorted(chosen))

    # The last position is the logits, which are always kept.
    wanted = {position for position in positions if position < len(chain.blocks)}
    kinds = {
        "on disk": bank.spilled,
        "computed anew at each step, beyond --cache_mb and --spill_mb": wanted - {*bank.cached},
        "in float32, beyond the range of float16": bank.too_large,
    }
    return [f"activations at {cuts(found)}: {kind}" for kind, found in kinds.items() if found]


def make_blocks(
    job: Job,
    config: RunConfig,
    bank: ViewBank,
    watch: Stopwatch,
    *,
    views: int | None = None,
    make: Maker = make_from_teacher,
) -> tuple[StudentBlock, ...]:
    """Makes the student blocks with their starting weights.

    Args:
        job: the input of the run.
        config: the settings.
        bank: the training views.
        watch: times the part.
        views: how many of them to solve the blocks from at most; None for as many as help.
        make: makes each block, as in `make_student`.

    Raises:
        KgraftError: a user's student does not fit the teacher.
    """

    def activations(position: int, count: int) -> np.ndarray:
        count = min(count, len(bank), views or count)
        rows = np.linspace(0, len(bank) - 1, count).astype(int)
        return bank.activation(position, rows)

    keras.utils.set_random_seed(config.data.seed)
    start = Start(config.student.start, activations, config.data.seed)
    with watch.part("student", f"making the student blocks, start: {config.student.start}"):
        student = make_student(job.chain, job.recipes, start, own=job.own, make=make)
        if start.weights == "teacher" and not any(p.steps for p in job.phases if p.stage == 1):
            # Blocks are solved for the teacher's inputs, which is what stage one gives them.
            solve_connected(job.chain, student, activations, seed=config.data.seed)
        return student
