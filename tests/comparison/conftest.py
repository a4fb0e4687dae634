"""A comparison of seconds: a small residual teacher, random images, few updates."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from small_models import CLASSES, SHAPE, small_model

from kgraft.comparison import CompareConfig
from kgraft.comparison.bench import Bench
from kgraft.comparison.setting import Setting


@dataclasses.dataclass(frozen=True)
class World:
    """Images on disk and a teacher in memory."""

    folder: pathlib.Path
    teacher: keras.Model

    def flags(self, **changes: Any) -> dict[str, Any]:
        """Settings by flag name."""
        flags = {
            "teacher": "small.keras",
            "teacher_cuts": ("stem_relu", "res0_out", "res1_out"),
            "preprocess": "unit",
            "graft": "1-3",
            "dataset": f"npz:{self.folder / 'images.npz'}",
            "eval_dataset": f"npz:{self.folder / 'images.npz'}",
            "views": 3,
            "mixed_views": 0,
            "heldout_views": 1,
            "steps": (2, 2),
            "batch": 8,
            "strategy": "one_device",
            "precision": "float32",
            "shots_list": (2,),
            "draws": 1,
        }
        return flags | changes

    def config(self, **changes: Any) -> CompareConfig:
        return CompareConfig.from_flags(**self.flags(**changes))

    def setting(self, **changes: Any) -> Setting:
        """What the methods of the first cell share."""
        config = self.config(**changes)
        return Bench(config, self.teacher).setting(config.shots_list[0], 0)

    def shapes(self, **changes: Any) -> Setting:
        """The same for what asks for architectures alone: the teacher has run over no view."""
        config = self.config(**changes)
        bench = Bench(config, self.teacher)
        run = config.cell_run(config.shots_list[0], 0)
        return Setting(run, bench.first, None, None, bench.strategy, 0, "")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("comparison"), small_model("residual"))


@pytest.fixture
def world_of(tmp_path: pathlib.Path) -> Callable[[keras.Model], World]:
    """Makes a world of another teacher."""
    return lambda teacher: make_world(tmp_path, teacher)


def make_world(folder: pathlib.Path, teacher: keras.Model) -> World:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 25), ("test", 30)):
        # One colour an image, and noise: the teacher tells them apart.
        colours = rng.integers(0, 256, [count, 1, 1, SHAPE[-1]])
        pixels = colours + rng.normal(0, 30, [count, *SHAPE])
        arrays[f"{split}_images"] = np.clip(pixels, 0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % CLASSES
    np.savez(folder / "images.npz", **arrays)
    return World(folder, teacher)


@pytest.fixture(scope="session")
def setting(world: World) -> Setting:
    """The cell that most methods are tried on; nothing in it changes."""
    return world.setting()


@pytest.fixture(scope="session")
def pixels(world: World) -> np.ndarray:
    """The test images as the teacher takes them, `[30, height, width, channels]`."""
    with np.load(world.folder / "images.npz") as arrays:
        return (arrays["test_images"] / 255.0).astype("float32")
