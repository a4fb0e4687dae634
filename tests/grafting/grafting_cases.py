"""Small teachers, students that fit them, views, and all that a phase needs."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgraft.grafting import ViewBank, make_loss
from kgraft.grafting.span import Student, state_variables
from kgraft.graph import Chain, Graph, split_chain, trace_model
from kgraft.students.block import StudentBlock

LAYERS = keras.layers


def make_teacher(*, batchnorm: bool = False, seed: int = 0) -> keras.Model:
    """A three-block convolutional teacher: 8x8x3 images, 5 classes."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input([8, 8, 3])
    for index, width in enumerate((6, 8)):
        x = LAYERS.Conv2D(width, 3, padding="same", name=f"conv{index}")(x)
        if batchnorm:
            x = LAYERS.BatchNormalization(name=f"norm{index}")(x)
        x = LAYERS.ReLU(name=f"relu{index}")(x)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, LAYERS.Dense(5, name="logits")(x))


def traced(layers: list[keras.layers.Layer], shape: tuple[int, ...]) -> Graph:
    """The graph of some layers one after another."""
    x = made = keras.Input(shape)
    for layer in layers:
        made = layer(made)
    return trace_model(keras.Model(x, made))


def _thin(index: int, *, batchnorm: bool) -> StudentBlock:
    """Half of the convolutional block `index`, with adapters where it meets the teacher."""
    wide_in, width, thin = ((3, 6, 3), (6, 8, 4))[index]
    body = [LAYERS.Conv2D(thin, 3, padding="same")]
    if batchnorm:
        body.append(LAYERS.BatchNormalization(synchronized=True))
    body.append(LAYERS.ReLU())
    entry = [LAYERS.Conv2D(3, 1, use_bias=False)] if index else None
    return StudentBlock(
        index=index,
        entry=traced(entry, (8, 8, wide_in)) if entry else None,
        body=traced(body, (8, 8, 3)),
        exit=traced([LAYERS.Conv2D(width, 1, use_bias=False)], (8, 8, thin)),
        train_statistics=batchnorm,
    )


def make_student(
    chain: Chain, *, kept: tuple[int, ...] = (), batchnorm: bool = False, seed: int = 1
) -> Student:
    """A thinner student of `make_teacher`'s chain with random weights."""
    keras.utils.set_random_seed(seed)
    blocks = []
    for block in chain.blocks:
        if block.index in kept:
            blocks.append(StudentBlock(block.index, block.graph, kept=True))
        elif block.index < 2:
            blocks.append(_thin(block.index, batchnorm=batchnorm))
        else:
            head = [LAYERS.GlobalAveragePooling2D(), LAYERS.Dense(5)]
            blocks.append(StudentBlock(2, traced(head, (8, 8, 8))))
    return tuple(blocks)


def make_chain(teacher: keras.Model) -> Chain:
    """The teacher's three blocks."""
    return split_chain(trace_model(teacher), ("relu0", "relu1"))


def make_views(n: int = 20, seed: int = 0) -> np.ndarray:
    """Random pixels `[n, 8, 8, 3]`."""
    return np.random.default_rng(seed).integers(0, 256, [n, 8, 8, 3], np.uint8)


def make_bank(chain: Chain, *, n: int = 20, seed: int = 0, **options: Any) -> ViewBank:
    """A bank of random views."""
    return ViewBank(make_views(n, seed), chain=chain, preprocess="unit", **options)


def read_weights(student: Student) -> list[np.ndarray]:
    """Every weight of a student's replaced blocks, statistics included."""
    parts = [state_variables(block) for block in student]
    return [v.numpy() for part in parts for variables in part.values() for v in variables]


@dataclasses.dataclass(frozen=True)
class GraftFactory:
    """Makes teachers, students and banks in a strategy's scope."""

    strategy: tf.distribute.Strategy

    def __call__(
        self,
        *,
        batchnorm: bool = False,
        kept: tuple[int, ...] = (),
        cache_mb: float = 1,
        positions: tuple[int, ...] = (1, 2),
    ) -> dict[str, Any]:
        """Keyword arguments of `train_phase`, all but the phase."""
        with self.strategy.scope():
            chain = make_chain(make_teacher(batchnorm=batchnorm))
            student = make_student(chain, kept=kept, batchnorm=batchnorm)
        return {
            "chain": chain,
            "student": student,
            "bank": make_bank(chain, cache_mb=cache_mb, positions=positions),
            "heldout": make_bank(chain, n=7, seed=1),
            "loss": make_loss("normalized_mse"),
            "feature_weight": 0.5,
            "strategy": self.strategy,
            "seed": 0,
        }


def start_distil(
    folder: Path, runs: list[dict[str, Any]], *, tf_config: str | None = None
) -> subprocess.Popen[str]:
    """Starts run_graft.py in a process of its own; each run writes `folder/NAME.npz`."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here.parent.parent)}
    environment.pop("TF_CONFIG", None)
    if tf_config is not None:
        environment["TF_CONFIG"] = tf_config
    command = [sys.executable, str(here / "run_graft.py"), str(folder), json.dumps(runs)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_distil(process: subprocess.Popen[str]) -> None:
    """Waits for a process of `start_distil` and checks that all went well."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def load(folder: Path, name: str) -> list[np.ndarray]:
    """Reads the weights of a run."""
    with np.load(folder / f"{name}.npz") as file:
        return [file[key] for key in file.files]
