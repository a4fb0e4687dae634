"""What every method is given, and what it gives back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kgraft.config import RunConfig
from kgraft.grafting import FusedStudent, ViewBank
from kgraft.graph import Chain
from kgraft.pipeline.job import Job

LAST_STEP = "the weights after the last update"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the methods of a cell share.

    Attributes:
        config: the settings of our own run, with the shots and the seed of the cell.
        job: teacher, student recipes, transfer images and views.
        bank: the training views and what the teacher says of them.
        heldout: further views of the same images, for methods that choose by them.
        strategy: the strategy the teacher was loaded under.
        updates: the budget of the methods that train by gradients.
        pixels_sha256: hash of the transfer images.
    """

    config: RunConfig
    job: Job
    bank: ViewBank
    heldout: ViewBank
    strategy: tf.distribute.Strategy
    updates: int
    pixels_sha256: str

    @property
    def chain(self) -> Chain:
        """The teacher's blocks."""
        return self.job.chain

    @property
    def seed(self) -> int:
        """Seed of everything drawn in the cell."""
        return self.config.data.seed

    def activations(self, position: int, count: int) -> np.ndarray:
        """Returns the teacher's activations on some views, evenly spread over all.

        Args:
            position: a cut position.
            count: how many views.

        Returns:
            Float32 `[views, ...]`.
        """
        rows = np.linspace(0, len(self.bank) - 1, min(count, len(self.bank))).astype(int)
        return self.bank.activation(position, rows)

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of the list of transfer images and of the images, as records name them."""
        sample = self.job.transfer.images.sha256
        return {"sample_sha256": sample, "pixels_sha256": self.pixels_sha256}

    @property
    def grafted(self) -> tuple[int, ...]:
        """Numbers of the blocks that are replaced."""
        return tuple(i for i, recipe in enumerate(self.job.recipes) if recipe.kind != "keep")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a method made.

    Attributes:
        student: the student, fused.
        updates: gradient updates done, as counted.
        settings: what the method was run with beyond what the cells share, plain values.
        selection: how the weights were chosen, in words.
        computed_in: the dtype that training ran in.
        notes: what a reader of the table should know.
    """

    student: FusedStudent
    updates: int
    settings: Mapping[str, Any]
    selection: str = LAST_STEP
    computed_in: str = "float32"
    notes: tuple[str, ...] = ()
