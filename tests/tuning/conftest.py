"""A search of seconds: a small teacher, random images, few updates."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from small_models import CLASSES, SHAPE, small_model

from kgraft.tuning import TuneConfig, costs
from kgraft.tuning.bench import Bench
from kgraft.tuning.records import TrialStore
from kgraft.tuning.trial import Laboratory

RATIOS = "block1_ratio=0.5|0.75"


@dataclasses.dataclass(frozen=True)
class World:
    """Images on disk and a teacher in memory."""

    folder: pathlib.Path
    teacher: keras.Model

    def flags(self, **changes: Any) -> dict[str, Any]:
        """Settings by flag name."""
        flags = {
            "teacher": "small.keras",
            "teacher_cuts": ("down", "conv2"),
            "preprocess": "unit",
            "graft": "1",
            "dataset": f"npz:{self.folder / 'images.npz'}",
            "shots": 2,
            "views": 3,
            "mixed_views": 0,
            "heldout_views": 1,
            "steps": (2, 2),
            "batch": 8,
            "strategy": "one_device",
            "precision": "float32",
            "formats": (),
            "vary": (RATIOS,),
            "tuner": "random",
            "trials": 2,
            "judge_views": 4,
            # Of a teacher with random weights every student names the classes.
            "objective": "loss",
        }
        return flags | changes

    def config(self, **changes: Any) -> TuneConfig:
        return TuneConfig.from_flags(**self.flags(**changes))

    def laboratory(self, folder: pathlib.Path, **changes: Any) -> Laboratory:
        """A place for trials in a folder."""
        bench = Bench(self.config(workdir=str(folder), **changes), self.teacher)
        store = TrialStore(folder)
        store.start({})
        return Laboratory(bench, store, folder)


@pytest.fixture(scope="module")
def quick_costs() -> Iterator[None]:
    """Weighs students by their weights, without files and clocks, which are test_costs.py's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "float32_bytes", lambda model: bytes(4 * model.count_params()))
        patch.setattr(
            costs,
            "measure_latencies",
            lambda files, **_: {name: 1e-3 * len(file) for name, file in files.items()},
        )
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(0)
    # One colour an image, and noise: the teacher tells them apart.
    colours = rng.integers(0, 256, [25, 1, 1, SHAPE[-1]])
    pixels = np.clip(colours + rng.normal(0, 30, [25, *SHAPE]), 0, 255).astype(np.uint8)
    np.savez(folder / "images.npz", train_images=pixels, train_labels=np.arange(25) % CLASSES)
    teacher = small_model("plain")
    teacher.save(folder / "teacher.keras")
    return World(folder, teacher)
