"""A graft: the chain with a span replaced by student blocks, as functions of tensors."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kgraft.data.preprocess import preprocess as preprocess_images
from kgraft.grafting.bank import ViewBank
from kgraft.grafting.losses import Loss, feature_mse
from kgraft.grafting.rows import Source
from kgraft.grafting.schedule import Phase
from kgraft.graph import Block, Chain
from kgraft.students.block import StudentBlock

Student = tuple[StudentBlock, ...]

# What one step reads of the bank: the rows of these, by the same names in `Reads.data`.
Rows = dict[str, tf.Tensor]

# Runs the body of a block on what goes into it, at inference or training its BatchNorms.
RunBody = Callable[[StudentBlock, Any, bool], Any]


def run_teacher(blocks: Sequence[Block], x: Any) -> Any:
    """Runs frozen teacher blocks one after another.

    Args:
        blocks: neighbouring blocks of the chain.
        x: what goes into the first, `[batch, ...]`.

    Returns:
        What comes out of the last.
    """
    for block in blocks:
        x = block.graph(x, training=False)
    return x


def run_student(blocks: Sequence[StudentBlock], x: Any, *, training: bool = False) -> Any:
    """Runs student blocks with their adapters one after another.

    Args:
        blocks: neighbouring blocks of the student.
        x: what goes into the first, `[batch, ...]`, in the teacher's width.
        training: whether blocks that train their BatchNorm statistics do so in this call; all
            others always run as at inference.

    Returns:
        What comes out of the last, in the teacher's width.
    """
    for block in blocks:
        x = run_block(block, x, training=training)
    return x


def plain_body(block: StudentBlock, x: Any, training: bool) -> Any:
    """Runs the body of a block as it is; a `RunBody`."""
    return block.body(x, training=training)


def run_block(block: StudentBlock, x: Any, *, training: bool, body: RunBody = plain_body) -> Any:
    """Runs a student block with its adapters.

    Args:
        block: the block.
        x: what goes in, `[batch, ...]`, in the teacher's width.
        training: whether a block that trains its BatchNorm statistics does so in this call.
        body: runs the body.

    Returns:
        What comes out, in the teacher's width.
    """
    if block.entry is not None:
        x = block.entry(x, training=False)
    x = body(block, x, training and block.train_statistics and not block.kept)
    return x if block.exit is None else block.exit(x, training=False)


def _unique(variables: list[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def block_variables(blocks: Sequence[StudentBlock]) -> list[Any]:
    """Lists what trains at the blocks' rate: the weights inside the replaced blocks.

    Args:
        blocks: blocks of the student; kept ones have nothing to train.

    Returns:
        Keras variables, each once.
    """
    return _unique([v for b in blocks if not b.kept for v in b.body.trainable_variables])


def adapter_variables(blocks: Sequence[StudentBlock]) -> list[Any]:
    """Lists what trains at the adapters' rate.

    Args:
        blocks: blocks of the student; kept ones have no adapters.

    Returns:
        Keras variables, each once.
    """
    adapters = [a for b in blocks if not b.kept for a in (b.entry, b.exit) if a is not None]
    return _unique([v for adapter in adapters for v in adapter.trainable_variables])


def state_variables(block: StudentBlock) -> dict[str, list[Any]]:
    """Lists every variable of a replaced block, statistics included, by its part.

    Args:
        block: a block of the student.

    Returns:
        Keras variables by `entry`, `body` and `exit`; nothing for a kept block.
    """
    parts = {"entry": block.entry, "body": block.body, "exit": block.exit}
    if block.kept:
        return {}
    return {name: list(part.variables) for name, part in parts.items() if part is not None}


@dataclasses.dataclass(frozen=True)
class Reads:
    """What the steps of a phase read of a view bank.

    Attributes:
        entry: the position that the run up to the span starts from.
        features: the cached positions of the feature term; None for no such term. Others in the
            span are computed at each step.
    """

    entry: int
    features: tuple[int, ...] | None

    @staticmethod
    def of(phase: Phase, bank: ViewBank, *, features: bool) -> "Reads":
        """Finds out what the bank has.

        Args:
            phase: whose span it is.
            bank: the views.
            features: whether the loss has a feature term.

        Returns:
            The positions.
        """
        entry, _ = bank.nearest(phase.start)
        inside = range(phase.start + 1, phase.stop + 1)
        return Reads(entry, tuple(p for p in inside if p in bank.cached) if features else None)

    def data(self, bank: ViewBank) -> dict[str, Source]:
        """Returns what steps gather rows of.

        Args:
            bank: the bank that the positions were found in.

        Returns:
            `entry`, `logits`, and by `feature_name` the cached positions of the feature term.
        """
        last = bank.cached[-1]
        found = {"entry": bank.rows_of(self.entry), "logits": bank.rows_of(last)}
        kept = (position for position in self.features or () if position != last)
        return found | {feature_name(position): bank.rows_of(position) for position in kept}


def feature_name(position: int) -> str:
    """Returns the name of a position among what a step reads."""
    return f"feature{position}"


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss of a graft on some rows of a view bank.

    Attributes:
        phase: whose span is grafted.
        chain: the teacher.
        student: one block for each of the teacher's.
        reads: what the rows are.
        preprocess: name of what turns pixels into the teacher's input.
        loss: loss on the logits.
        feature_weight: weight of the feature term, the mean over the cuts in the span and at its
            exit.
        body: runs the body of each student block of the span.
    """

    phase: Phase
    chain: Chain
    student: Student
    reads: Reads
    preprocess: str
    loss: Loss
    feature_weight: float
    body: RunBody = plain_body

    def __call__(self, rows: Rows, *, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs the graft.

        Args:
            rows: rows of `Reads.data`, `[batch, ...]` each.
            training: whether this is a training step.

        Returns:
            The loss of each example, `[batch]`, and the graft's logits `[batch, classes]`.
        """
        phase, blocks = self.phase, self.chain.blocks
        x = rows["entry"]
        if self.reads.entry == 0:
            x = preprocess_images(x, self.preprocess)
        x = tf.stop_gradient(run_teacher(blocks[self.reads.entry : phase.start], x))
        made = [x]
        for block in self.student[phase.start : phase.stop]:
            made.append(run_block(block, made[-1], training=training, body=self.body))
        logits = tf.cast(run_teacher(blocks[phase.stop :], made[-1]), tf.float32)
        losses = self.loss(logits, rows["logits"])
        if self.reads.features is not None:
            losses += self.feature_weight * self._feature_loss(rows, x, made[1:])
        return losses, logits

    def _feature_loss(self, rows: Rows, x: tf.Tensor, made: Sequence[tf.Tensor]) -> tf.Tensor:
        """The mean over the span's cuts, given what the student has at each."""
        terms = []
        for position, out in enumerate(made, self.phase.start + 1):
            x = self._target(rows, x, position)
            terms.append(feature_mse(tf.cast(out, tf.float32), tf.cast(x, tf.float32)))
        return tf.add_n(terms) / len(terms)

    def _target(self, rows: Rows, before: tf.Tensor, position: int) -> tf.Tensor:
        """What the teacher has at a position, read or computed from what it has in front of it."""
        if position == len(self.chain.blocks):
            return rows["logits"]
        if feature_name(position) in rows:
            return rows[feature_name(position)]
        block = self.chain.blocks[position - 1]
        return tf.stop_gradient(block.graph(before, training=False))
