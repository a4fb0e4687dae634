"""A student as one network of its own, for methods that train it as a whole.

It has the architecture our fused student ends with: where two adapters meet, both are left out, and
one that stays is a linear layer that fusing folds away. Kept blocks are the teacher's own, frozen,
in every method.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kgraft.comparison.fit import Data, Loss, Rows
from kgraft.comparison.pruned import fresh, prunable, pruned_student
from kgraft.comparison.setting import Setting
from kgraft.data.preprocess import preprocess
from kgraft.grafting.span import adapter_variables, block_variables, run_student, run_teacher
from kgraft.graph import remember_few_batches
from kgraft.students import Start, StudentBlock, make_student

Student = tuple[StudentBlock, ...]


def random_blocks(setting: Setting) -> Student:
    """Makes student blocks of fresh weights, with adapters where widths differ.

    Args:
        setting: the cell.

    Returns:
        One block per block of the teacher.
    """
    keras.utils.set_random_seed(setting.seed)
    chain, recipes = setting.chain, setting.job.recipes
    if prunable(chain, recipes):
        return fresh(pruned_student(chain, recipes))
    start = Start("random", setting.activations, setting.seed)
    return make_student(chain, recipes, start, own=setting.job.own)


def random_student(setting: Setting) -> Student:
    """Makes a whole student of fresh weights in its replaced blocks.

    Args:
        setting: the cell.

    Returns:
        One block per block of the teacher.
    """
    return as_whole(random_blocks(setting))


def pruned_whole(setting: Setting) -> Student:
    """Makes a whole student as pruning leaves it.

    Args:
        setting: the cell.

    Returns:
        One block per block of the teacher.
    """
    pruned = pruned_student(setting.chain, setting.job.recipes)
    return as_whole(pruned.blocks)


def as_whole(student: Student) -> Student:
    """Takes out adapters that meet and readies BatchNorms for training.

    Args:
        student: one block per block of the teacher; its BatchNorms get the momentum of a network
            that trains for a short time.

    Returns:
        Blocks that share their layers with the given ones.
    """
    blocks = list(student)
    for i, (before, after) in enumerate(itertools.pairwise(student)):
        if before.exit is None or after.entry is None:
            continue
        if before.body.output_shape[-1] == after.body.input_shape[-1]:
            blocks[i] = dataclasses.replace(blocks[i], exit=None)
            blocks[i + 1] = dataclasses.replace(blocks[i + 1], entry=None)
    set_momentum(blocks)
    return tuple(blocks)


def set_momentum(student: Sequence[StudentBlock]) -> None:
    """Gives the BatchNorms of replaced blocks the momentum of a short training."""
    for block in student:
        if not block.kept:
            remember_few_batches(block.body)


def trainable(blocks: Sequence[StudentBlock]) -> list[Any]:
    """Lists what trains: the weights of the replaced blocks and of adapters that stay."""
    return block_variables(blocks) + adapter_variables(blocks)


@dataclasses.dataclass(frozen=True)
class Feed:
    """What the updates of a whole student read of the view bank.

    The frozen blocks in front of the first replaced one need not run at every update where the
    bank has what they make.

    Attributes:
        setting: the cell.
        position: the cut position that the rows of `entry` are at.
    """

    setting: Setting
    position: int

    @classmethod
    def of(cls, setting: Setting) -> "Feed":
        """Finds the nearest cached position in front of the first replaced block."""
        return cls(setting, setting.bank.nearest(setting.grafted[0])[0])

    def data(self) -> Data:
        """Returns what updates gather rows of: `entry` and the teacher's `logits`."""
        bank = self.setting.bank
        return {"entry": bank.rows_of(self.position), "logits": bank.rows_of(bank.cached[-1])}

    def run(self, rows: Rows, student: Student, stop: int | None = None) -> tf.Tensor:
        """Runs the student in training mode.

        Args:
            rows: rows of `data`.
            student: one block per block of the teacher.
            stop: the block to stop before; None to run to the end.

        Returns:
            Float32 activations `[batch, ...]`.
        """
        return tf.cast(
            run_student(student[self.position : stop], self._entry(rows), training=True),
            tf.float32,
        )

    def teach(self, rows: Rows, stop: int) -> tf.Tensor:
        """Returns the teacher's activations at the entry of block `stop`, `[batch, ...]`."""
        blocks = self.setting.chain.blocks[self.position : stop]
        return tf.stop_gradient(tf.cast(run_teacher(blocks, self._entry(rows)), tf.float32))

    def _entry(self, rows: Rows) -> tf.Tensor:
        if self.position == 0:
            return preprocess(rows["entry"], self.setting.bank.preprocess)
        return rows["entry"]


def logit_loss(feed: Feed, student: Student, loss: Any) -> Loss:
    """Makes the loss of a student's logits against the teacher's, one value per example."""
    return lambda rows: loss(feed.run(rows, student), rows["logits"])
