"""What a run works on: everything opened and checked before anything is written or trained."""

import dataclasses

import keras
import numpy as np

from kgraft.config import RunConfig
from kgraft.grafting import Phase, ViewBank, graft_schedule, positions_wanted
from kgraft.graph import Chain
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.teacher import OpenedTeacher, open_own_student, open_teacher
from kgraft.pipeline.transfer import (
    TestSet,
    Transfer,
    check_test_set,
    class_names,
    open_test_set,
    open_transfer,
)
from kgraft.students import (
    Recipe,
    Start,
    StudentBlock,
    assign_recipes,
    check_own,
    make_student,
)


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
    with watch.part("teacher", f"opening the teacher {config.teacher.source}"):
        teacher = open_teacher(config.teacher, model)
        # Fresh weights, here and later, come from Keras's global generators.
        keras.utils.set_random_seed(config.data.seed)
        own = open_own_student(config.student, teacher, seed=config.data.seed)
        if own is not None:
            check_own(teacher.chain, own)
        graph = teacher.chain.graph
        recipes = assign_recipes(
            config.student.graft, config.student.source, len(teacher.chain.blocks)
        )
        grafted = [index for index, recipe in enumerate(recipes) if recipe.kind != "keep"]
        phases = graft_schedule(grafted, config.train)
    with watch.part("data", f"drawing transfer images from {config.data.dataset}"):
        test = open_test_set(config.data, graph)
        transfer = open_transfer(config.data, graph)
        names = class_names(config.data, transfer.images, test, teacher.classes)
        if test is not None:
            check_test_set(test, transfer.size, names, classes=teacher.classes)
    return Job(teacher, own, recipes, phases, transfer, test, names)


def fill_banks(job: Job, config: RunConfig, watch: Stopwatch) -> tuple[ViewBank, ViewBank]:
    """Runs the teacher once over all views.

    Args:
        job: the input of the run.
        config: the settings.
        watch: times the part.

    Returns:
        The bank of training views and the bank of held-out views.
    """
    positions = positions_wanted(job.phases, features=config.train.feature_weight > 0)
    share = len(job.transfer.views) / (len(job.transfer.views) + len(job.transfer.heldout))
    count = len(job.transfer.views)
    with watch.part("bank", f"running the teacher over {count} views and the held-out ones"):
        bank, heldout = (
            ViewBank(
                views,
                chain=job.chain,
                preprocess=job.teacher.preprocess,
                cache_mb=config.train.cache_mb * part,
                positions=positions,
            )
            for views, part in ((job.transfer.views, share), (job.transfer.heldout, 1 - share))
        )
    return bank, heldout


def make_blocks(
    job: Job, config: RunConfig, bank: ViewBank, watch: Stopwatch
) -> tuple[StudentBlock, ...]:
    """Makes the student blocks with their starting weights.

    Args:
        job: the input of the run.
        config: the settings.
        bank: the training views.
        watch: times the part.

    Raises:
        KgraftError: a user's student does not fit the teacher.
    """

    def activations(position: int, count: int) -> np.ndarray:
        rows = np.linspace(0, len(bank) - 1, min(count, len(bank))).astype(int)
        return bank.activation(position, rows)

    keras.utils.set_random_seed(config.data.seed)
    start = Start(config.student.start, activations, config.data.seed)
    with watch.part("student", f"making the student blocks, start: {config.student.start}"):
        return make_student(job.chain, job.recipes, start, own=job.own)
