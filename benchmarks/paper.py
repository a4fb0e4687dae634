"""The paper's CIFAR-10 schedule at 10 images a class: what is trained, for how long, how fast."""

import dataclasses

BATCH = 64
IMAGES = 100
EPOCH_UPDATES = 2
IMAGE_SHAPE = (32, 32, 3)


@dataclasses.dataclass(frozen=True)
class PaperPhase:
    """One phase of the published schedule.

    Attributes:
        name: for tables and JSON.
        start, stop: the span, blocks `start` up to and without `stop`; 5 is the head.
        epochs: passes over the images.
        block_rate, adapter_rate: learning rates.
        stage: 1 or 2.
    """

    name: str
    start: int
    stop: int
    epochs: int
    block_rate: float
    adapter_rate: float
    stage: int

    @property
    def updates(self) -> int:
        """Updates in all."""
        return self.epochs * EPOCH_UPDATES


PHASES = (
    PaperPhase("one/block3", 3, 4, 100, 2.5e-4, 2.5e-3, 1),
    PaperPhase("one/block4", 4, 5, 60, 2.5e-4, 2.5e-3, 1),
    PaperPhase("one/head", 5, 6, 60, 2.5e-4, 2.5e-3, 1),
    PaperPhase("two/blocks3-4", 3, 5, 100, 1e-4, 1e-4, 2),
    PaperPhase("two/blocks3-head", 3, 6, 100, 1e-4, 1e-4, 2),
)
