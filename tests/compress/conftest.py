"""A small student, its teacher's views and what compressing it needs."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl
from student_cases import chain_of

from kgraft.compress import Compressed, compress
from kgraft.compress_config import CompressConfig
from kgraft.config import TrainConfig
from kgraft.grafting import ViewBank

SHAPE = (10, 10, 3)


def make_model(seed: int, width: int) -> keras.Model:
    """Layers of every kind that the techniques tell apart: plain, depthwise, added, dense."""
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    x = kl.ReLU(name="relu1")(kl.Conv2D(width, 3, padding="same", name="conv1")(x))
    y = kl.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = kl.Conv2D(width, 1, activation="relu", name="conv2")(y)
    x = kl.ReLU(name="relu2")(kl.Add(name="add")([x, y]))
    x = kl.Conv2D(16, 3, strides=2, name="conv3")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(kl.ReLU(6.0, name="relu3")(x))
    return keras.Model(image, kl.Dense(5, name="logits")(x), name="student")


# Settings that are not the third stage's own.
TRAIN = ("select", "loss", "feature_weight", "optimizer", "decay")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A student and the views it is compressed on."""

    student: keras.Model
    bank: ViewBank
    heldout: ViewBank

    def run(self, technique: str, **changes) -> Compressed:
        """Compresses the student."""
        given = {name: changes.pop(name, None) for name in ("checkpoints", "on_progress")}
        train = {k: changes.pop(k) for k in TRAIN if k in changes}
        steps = {"compress_steps": 12, "compress_rate": 3e-3, "clusters": 6}
        return compress(
            self.student,
            CompressConfig(compress=technique, **{**steps, **changes}),
            TrainConfig(batch=16, **train),
            bank=self.bank,
            heldout=self.heldout,
            blocks=1,
            seed=changes.pop("seed", 3),
            **given,
        )


@pytest.fixture(scope="session")
def stage() -> Stage:
    chain = chain_of(make_model(1, 12))
    random = np.random.default_rng(0)
    views = random.integers(0, 256, [56, *SHAPE], "uint8")
    return Stage(
        make_model(2, 8), ViewBank(views[:40], chain=chain), ViewBank(views[40:], chain=chain)
    )
