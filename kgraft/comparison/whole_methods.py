"""Rivals that train the whole student by gradients: KD, FitNet and plain fine-tuning."""

import dataclasses
from typing import Any

import tensorflow as tf

from kgraft.comparison.fit import FitPlan, fit
from kgraft.comparison.labels import transfer_labels
from kgraft.comparison.setting import Outcome, Setting
from kgraft.comparison.whole import (
    Feed,
    Student,
    logit_loss,
    pruned_whole,
    random_student,
    trainable,
)
from kgraft.grafting import fuse, make_loss
from kgraft.students import StudentBlock, make_adapter

_TEMPERATURE = 4.0


def kd(setting: Setting) -> Outcome:
    """Knowledge distillation of the whole student from random weights.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015: the softened class
    probabilities of the teacher at temperature 4, without the term of the true labels, which are
    unknown here. Adam at 3e-3 with a cosine decay.
    """
    plan = _plan(setting, "kd", rate=3e-3)
    return _distil(setting, random_student(setting), plan)


def kd_pruned(setting: Setting) -> Outcome:
    """The same from the pruned teacher instead of random weights.

    Hinton et al. 2015 for the loss, Li et al., "Pruning Filters for Efficient ConvNets", ICLR
    2017, for the start. Adam at 1e-3 with a cosine decay.
    """
    student = pruned_whole(setting)
    return _distil(setting, student, _plan(setting, "kd_pruned", rate=1e-3))


def fitnet(setting: Setting) -> Outcome:
    """FitNet-style hints, one stage after another, then the logits.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015: the student up to a guided layer
    and a 1x1 regressor behind it learn the teacher's activations (squared error), then the whole
    student its softened logits. The paper has one hint in the middle and RMSProp; here every
    replaced block but the last gives one, half of the updates go to hints, Adam at 3e-3.
    """
    student, feed = random_student(setting), Feed.of(setting)
    hints = [i for i in setting.grafted if i + 1 < len(student)]
    updates = setting.updates // 2 // len(hints) if hints else 0
    done = 0
    for index in hints:
        plan = _plan(setting, f"fitnet hint {index}", rate=3e-3, updates=updates)
        done += _learn_hint(setting, student, feed, index=index, plan=plan)
    plan = _plan(setting, "fitnet", rate=3e-3, updates=setting.updates - updates * len(hints))
    settings = {"hints_at": [setting.chain.cuts[i] for i in hints], "updates_per_hint": updates}
    outcome = _distil(setting, student, plan)
    return dataclasses.replace(
        outcome, updates=done + outcome.updates, settings={**outcome.settings, **settings}
    )


def finetune(setting: Setting) -> Outcome:
    """Plain fine-tuning of the pruned teacher with the labels of the shots.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017: cross entropy at a constant
    rate of 1e-3, SGD with momentum, weight decay 1e-4. The only method that reads labels beyond
    the draw; mixed views and those of extra images have none, and are left out.
    """
    student = pruned_whole(setting)
    owners = setting.job.transfer.owners
    rows = {
        "entry": setting.bank.tensor(0)[: len(owners)],
        "labels": tf.constant(transfer_labels(setting)[owners]),
    }
    feed = Feed(setting, 0)

    def loss(taken: dict[str, tf.Tensor]) -> tf.Tensor:
        logits = feed.run(taken, student)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(taken["labels"], logits)

    plan = _plan(setting, "finetune", rate=1e-3, optimizer="sgd", decay="constant")
    plan = dataclasses.replace(plan, weight_decay=1e-4)
    losses = fit(loss, trainable(student), rows, plan=plan, seed=setting.seed)
    return Outcome(
        fuse(student),
        len(losses),
        {
            "start": "pruned",
            "loss": "cross entropy",
            "views_used": len(owners),
            **plan.describe(),
        },
        notes=("reads the labels of the transfer images",),
    )


def _plan(setting: Setting, name: str, *, updates: int | None = None, **changes: Any) -> FitPlan:
    count = setting.updates if updates is None else updates
    return FitPlan(name, count, setting.config.train.batch, **changes)


def _distil(setting: Setting, student: Student, plan: FitPlan) -> Outcome:
    feed = Feed.of(setting)
    loss = logit_loss(feed, student, make_loss("kl", temperature=_TEMPERATURE))
    losses = fit(loss, trainable(student), feed.data(), plan=plan, seed=setting.seed)
    start = "pruned" if plan.name == "kd_pruned" else "random"
    loss_settings = {"start": start, "loss": "kl", "temperature": _TEMPERATURE}
    return Outcome(fuse(student), len(losses), {**loss_settings, **plan.describe()})


def _learn_hint(
    setting: Setting, student: Student, feed: Feed, *, index: int, plan: FitPlan
) -> int:
    """Trains up to the end of a block, and returns how many updates that took."""
    regressor = _regressor(setting, student[index])
    learning = student[: index + 1]

    def loss(rows: dict[str, tf.Tensor]) -> tf.Tensor:
        made = feed.run(rows, student, index + 1)
        made = made if regressor is None else regressor(made)
        wanted = feed.teach(rows, index + 1)
        return tf.reduce_mean(tf.square(made - wanted), list(range(1, wanted.shape.rank)))

    variables = trainable(learning) + (regressor.trainable_variables if regressor else [])
    return len(fit(loss, variables, feed.data(), plan=plan, seed=setting.seed))


def _regressor(setting: Setting, block: StudentBlock) -> Any:
    """A 1x1 map to the teacher's width; None where the block ends with it."""
    width = setting.chain.blocks[block.index].graph.output_shape[-1]
    if block.exit is not None or block.body.output_shape[-1] == width:
        return None
    return make_adapter(f"{block.name}_regressor", block.body.output_shape, width)
