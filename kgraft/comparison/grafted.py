"""Ours, and the paper's: methods that go through the same pipeline as `kgraft-distill`."""

import dataclasses
import tempfile
from typing import Any

from kgraft.comparison.setting import Outcome, Setting
from kgraft.comparison.whole import random_blocks, set_momentum
from kgraft.config import RunConfig
from kgraft.grafting import (
    Checkpoints,
    Phase,
    ViewBank,
    choose_compute,
    fuse,
    graft_schedule,
    positions_wanted,
)
from kgraft.pipeline.job import Banks, make_blocks
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.training import SELECTION_RULES, train_student

# The paper's settings of 10 images a class; rates and batch are scaled by shots / 10. Updates in
# place of its epochs: two an epoch on CIFAR-10 and sixteen on CIFAR-100, for nearly any shots. With
# other numbers of classes an epoch is of other length, and the paper states no settings.
_PAPER_SHOTS = 10
_PAPER_BATCH = 64


@dataclasses.dataclass(frozen=True)
class PaperPlan:
    """The paper's settings on one data set.

    Attributes:
        updates_first, updates_next: of stage one, for the first replaced block and the others.
        updates_two: of each phase of stage two.
        rate_first, rate_next: of the blocks in stage one, likewise.
        adapter_rate: of the adapters in stage one.
        rate_two: of everything in stage two.
    """

    updates_first: int
    updates_next: int
    updates_two: int
    rate_first: float
    rate_next: float
    adapter_rate: float
    rate_two: float = 1e-4


PAPER_CIFAR10 = PaperPlan(200, 120, 200, 2.5e-4, 2.5e-4, 2.5e-3)
PAPER_CIFAR100 = PaperPlan(16_000, 3_200, 2_400, 2.5e-4, 1e-3, 1e-3)
PAPER_PLANS = {10: PAPER_CIFAR10, 100: PAPER_CIFAR100}


def kgraft(setting: Setting) -> Outcome:
    """Ours: what `kgraft-distill` trains with the same flags, on logits computed in float32."""
    return _graft(setting, setting.config, setting.job.phases)


def closed(setting: Setting) -> Outcome:
    """Ours without a gradient step: `--steps=0`, the closed form alone."""
    train = dataclasses.replace(setting.config.train, steps=(0, 0))
    # Solved whatever the flags start from: random blocks without an update are no student.
    student = dataclasses.replace(setting.config.student, start="teacher")
    config = dataclasses.replace(setting.config, train=train, student=student)
    made = _graft(setting, config, graft_schedule(setting.grafted, train))
    return dataclasses.replace(made, selection="solved; nothing is chosen")


def paper(setting: Setting) -> Outcome:
    """Progressive network grafting with the settings of its paper.

    Shen, Wang, Yin, Song, Luo, Song, "Progressive Network Grafting for Few-Shot Knowledge
    Distillation", AAAI 2021: fresh weights, the distance of normalised logits alone, Adam at
    constant rates, every block by itself and then growing spans, the number of updates and the
    rates of its CIFAR-10 setting, or of CIFAR-100 where the teacher has exactly 100 classes. For
    other teachers than of 10 or 100 classes it states none: they get the common budget, shared out
    as on CIFAR-10, and rates for the common batch. Its adapters have a bias, which does not fold at
    borders; here they have none. It keeps the epoch that is best on the test set; here the last
    step counts. It sees the views of transfer images alone, as in the paper: none that are mixed.
    """
    plan = PAPER_PLANS.get(setting.job.teacher.classes)
    scale = (setting.config.data.shots or 1) / _PAPER_SHOTS
    notes = ["adapters without bias; the last step instead of the best on the test set"]
    if plan is None:
        scale = setting.config.train.batch / _PAPER_BATCH
        plan = shared_out(PAPER_CIFAR10, setting.updates, len(setting.grafted))
        notes.append(
            "the paper states no settings for this number of classes: the common budget, shared "
            "out as on CIFAR-10"
        )
    config = paper_config(setting.config, scale)
    phases = paper_phases(graft_schedule(setting.grafted, config.train), plan, scale)
    plain = _plain_views(setting, phases)
    try:
        made = _graft(dataclasses.replace(setting, bank=plain), config, phases, fresh=True)
    finally:
        if plain is not setting.bank:
            plain.close()
    settings = {
        "start": "random",
        "batch": config.train.batch,
        "views_used": len(plain),
        **dataclasses.asdict(plan),
    }
    return dataclasses.replace(made, settings=settings, notes=tuple(notes))


def _plain_views(setting: Setting, phases: tuple[Phase, ...]) -> ViewBank:
    """Returns the bank without mixed views and those of extra images."""
    count = len(setting.job.transfer.owners)
    if count == len(setting.bank):
        return setting.bank
    train = setting.config.train
    return ViewBank(
        setting.bank.views[:count],
        chain=setting.chain,
        preprocess=setting.bank.preprocess,
        cache_mb=train.cache_mb * count / len(setting.bank),
        cache_dtype=train.cache_dtype,
        positions=positions_wanted(phases, features=False),
    )


def shared_out(plan: PaperPlan, updates: int, blocks: int) -> PaperPlan:
    """Shares a number of updates out among the phases as a plan does.

    Args:
        plan: whose shares and rates to take.
        updates: how many to share out.
        blocks: how many blocks are replaced, at least one.

    Returns:
        The plan with updates of the same proportions; what rounding leaves goes to the first phase.
    """
    later = blocks - 1
    whole = plan.updates_first + later * (plan.updates_next + plan.updates_two)
    following = updates * plan.updates_next // whole
    two = updates * plan.updates_two // whole
    first = updates - later * (following + two)
    return dataclasses.replace(plan, updates_first=first, updates_next=following, updates_two=two)


def paper_config(config: RunConfig, scale: float) -> RunConfig:
    """Returns the settings of a run in the paper's way.

    Args:
        config: whose teacher, student and images to take.
        scale: of the batch, 1 for that of 10 images a class.
    """
    train = dataclasses.replace(
        config.train,
        loss="normalized_mse",
        feature_weight=0.0,
        batch=max(1, int(_PAPER_BATCH * scale)),
        optimizer="adam",
        decay="constant",
        order="forward",
        select="last",
        precision="float32",
        fake_quant="none",
    )
    student = dataclasses.replace(config.student, start="random")
    return dataclasses.replace(config, train=train, student=student)


def paper_phases(phases: tuple[Phase, ...], plan: PaperPlan, scale: float) -> tuple[Phase, ...]:
    """Gives each phase the paper's updates and rates.

    Args:
        phases: both stages, in order.
        plan: the paper's settings.
        scale: of the rates in stage one, 1 for those of 10 images a class.

    Returns:
        The same spans.
    """
    made = []
    for number, phase in enumerate(phases):
        changes: dict[str, Any] = {
            "steps": plan.updates_two,
            "block_rate": plan.rate_two,
            "adapter_rate": plan.rate_two,
        }
        if phase.stage == 1:
            changes = {
                "steps": plan.updates_next if number else plan.updates_first,
                "block_rate": (plan.rate_next if number else plan.rate_first) * scale,
                "adapter_rate": plan.adapter_rate * scale,
            }
        made.append(dataclasses.replace(phase, **changes))
    return tuple(made)


def _graft(
    setting: Setting, config: RunConfig, phases: tuple[Phase, ...], *, fresh: bool = False
) -> Outcome:
    """Makes and trains student blocks as `kgraft.api.distill` does, with the cell's banks."""
    job = dataclasses.replace(setting.job, phases=phases)
    watch = Stopwatch(say=None)
    with setting.strategy.scope():
        student = random_blocks(setting) if fresh else make_blocks(job, config, setting.bank, watch)
        compute = choose_compute(config.train.precision, job.chain, setting.heldout)
    if fresh:
        set_momentum(student)
    with tempfile.TemporaryDirectory() as folder:
        results = train_student(
            job,
            student,
            dataclasses.replace(config, workdir=folder, phases="all"),
            banks=Banks(setting.bank, setting.heldout, compute),
            strategy=setting.strategy,
            checkpoints=Checkpoints(folder, {}, writes=False),
            watch=watch,
        )
    settings = {
        "student": dataclasses.asdict(config.student),
        "train": dataclasses.asdict(config.train),
        "kept_steps": {result.name: result.kept_step for result in results},
    }
    rule = SELECTION_RULES[config.train.select]
    return Outcome(
        fuse(student),
        sum(result.steps for result in results),
        settings,
        selection=rule,
        computed_in=compute.dtype,
    )
