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
        if block.entry is not None:
            x = block.entry(x, training=False)
        x = block.body(x, training=training and block.train_statistics and not block.kept)
        if block.exit is not None:
            x = block.exit(x, training=False)
    return x


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
        exit: the position that the run up to the span's exit starts from; None without features.
    """

    entry: int
    exit: int | None

    @staticmethod
    def of(phase: Phase, bank: ViewBank, *, features: bool) -> "Reads":
        """Finds the nearest cached positions.

        Args:
            phase: whose span it is.
            bank: the views.
            features: whether the loss has a feature term.

        Returns:
            The positions.
        """
        entry, _ = bank.nearest(phase.start)
        exit_, _ = bank.nearest(phase.stop)
        return Reads(entry, exit_ if features else None)

    def data(self, bank: ViewBank) -> dict[str, Source]:
        """Returns what steps gather rows of.

        Args:
            bank: the bank that the positions were found in.

        Returns:
            `entry` and `logits`, and `exit` where that is a cached position past the entry's.
        """
        last = bank.cached[-1]
        found = {"entry": bank.rows_of(self.entry), "logits": bank.rows_of(last)}
        if self.exit not in (None, self.entry, last):
            found["exit"] = bank.rows_of(self.exit)
        return found


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
        feature_weight: weight of the feature term at the span's exit.
    """

    phase: Phase
    chain: Chain
    student: Student
    reads: Reads
    preprocess: str
    loss: Loss
    feature_weight: float

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
        out = run_student(self.student[phase.start : phase.stop], x, training=training)
        logits = tf.cast(run_teacher(blocks[phase.stop :], out), tf.float32)
        losses = self.loss(logits, rows["logits"])
        if self.reads.exit is not None:
            target = tf.stop_gradient(self._exit_target(rows, x))
            losses += self.feature_weight * feature_mse(tf.cast(out, tf.float32), target)
        return losses, logits

    def _exit_target(self, rows: Rows, x: tf.Tensor) -> tf.Tensor:
        """What the teacher has at the span's exit, from as near as the bank allows."""
        stop, blocks, near = self.phase.stop, self.chain.blocks, self.reads.exit
        if stop == len(blocks):
            return rows["logits"]
        if near is not None and "exit" in rows and near > self.phase.start:
            y = run_teacher(blocks[near:stop], rows["exit"])
        else:
            y = run_teacher(blocks[self.phase.start : stop], x)
        return tf.cast(y, tf.float32)


def student_function(student: Student, preprocess: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compiles the whole student.

    Args:
        student: one block for each of the teacher's.
        preprocess: name of what turns pixels into the teacher's input.

    Returns:
        A function of pixels 0..255, `[batch, height, width, channels]`, to float32 logits
        `[batch, classes]`.
    """

    def logits(images: tf.Tensor) -> tf.Tensor:
        x = preprocess_images(images, preprocess)
        return tf.cast(run_student(student, x), tf.float32)

    first = student[0].entry or student[0].body
    signature = [tf.TensorSpec([None, *first.input_shape[1:]], tf.float32)]
    run = tf.function(logits, input_signature=signature, autograph=False).get_concrete_function()
    return lambda images: run(tf.cast(images, tf.float32))
