"""A whole search of `kgraft.tune` on a small network, measured in a process of its own."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kgraft.cli.load_tensorflow import load_tensorflow

CLASSES = 10
_IMAGES = 40


def make(**settings: Any) -> Callable[[], dict[str, Any]]:
    """Loads TensorFlow and returns a function that searches.

    Args:
        **settings: of `run_search`.
    """
    load_tensorflow()
    return lambda: run_search(**settings)


def run_search(
    *,
    size: int,
    width: int,
    blocks: int,
    vary: tuple[str, ...],
    trials: int,
    steps: tuple[int, int],
    threads: int | None,
    block_cache: bool = True,
) -> dict[str, Any]:
    """Searches at random over the students of a network of random weights, on noise.

    Args:
        size: height and width of the images.
        width: channels of the network.
        blocks: how many blocks it has; the last is the head, which is kept.
        vary: the space, as `--vary` takes it.
        trials: how many.
        steps: updates of each phase of stage one and of stage two.
        threads: threads of TensorFlow; None for its choice.
        block_cache: whether trials share blocks.

    Returns:
        Seconds of the search and of its processors, how many phases were trained and taken from the
        cache, memory after each trial, and of each trial its values, losses and seconds.
    """
    import numpy as np

    from benchmarks import machine
    from kgraft.tuning import tune

    machine.set_threads(threads)
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size, 3), np.uint8)
        np.savez(Path(folder, "images.npz"), images=pixels)
        began, worked = time.perf_counter(), time.process_time()
        found = tune(
            teacher_model=_teacher(size, width, blocks),
            say=lambda _: memory.append(machine.resident_mb()),
            teacher_cuts=tuple(f"block{i}_out" for i in range(blocks - 1)),
            graft=f"0-{blocks - 2}",
            student="inner:0.5",
            dataset=f"npz:{folder}/images.npz",
            images=_IMAGES,
            preprocess="unit",
            views=8,
            mixed_views=0,
            judge_views=4,
            steps=tuple(steps),
            batch=32,
            strategy="one_device",
            precision="float32",
            vary=tuple(vary),
            tuner="random",
            trials=trials,
            objective="loss",
            prune="off",
            block_cache=block_cache,
            workdir=f"{folder}/work",
        )
        seconds = time.perf_counter() - began
        cpu_seconds = time.process_time() - worked
    phases = [phase for record in found.records for phase in record.phases]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "phases": len(phases),
        "phases_reused": sum(bool(phase["reused"]) for phase in phases),
        # The first is told before any trial.
        "memory_mb": memory[1:],
        "trials": [
            {
                "trial": record.trial,
                "values": dict(record.values),
                "status": record.status,
                "loss": record.loss,
                "closed_loss": record.closed_loss,
                "seconds": record.seconds,
            }
            for record in found.records
        ],
    }


def _teacher(size: int, width: int, blocks: int) -> Any:
    """A plain network: two convolutions a block, and a head."""
    import keras
    from keras import layers as kl

    keras.utils.set_random_seed(0)
    x = image = keras.Input((size, size, 3))
    for index in range(blocks - 1):
        x = kl.Conv2D(width, 3, padding="same", activation="relu", name=f"block{index}_a")(x)
        x = kl.Conv2D(width, 3, padding="same", activation="relu", name=f"block{index}_out")(x)
        if index == 0:
            x = kl.MaxPooling2D(name="down")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, kl.Dense(CLASSES, name="logits")(x), name="small")
