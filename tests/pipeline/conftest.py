"""A small teacher that knows its four classes, its images, and settings for a short run."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgraft.config import RunConfig

CLASSES = ("red", "green", "blue", "yellow")
_COLOURS = np.array([[200, 50, 50], [50, 200, 50], [50, 50, 200], [200, 200, 50]])


def make_images(count: int, seed: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images of one colour each, `[count, size, size, 3]`, and their classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    noise = random.normal(0, 40, (count, size, size, 3))
    pixels = _COLOURS[labels][:, None, None] + noise
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def make_teacher() -> keras.Model:
    """Three blocks with a residual one and BatchNorm; cuts at `relu1` and `relu2`."""
    keras.utils.set_random_seed(0)
    kl = keras.layers
    image = keras.Input((16, 16, 3))
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    x = kl.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(x)
    x = kl.BatchNormalization(name="norm1")(x)
    x = kl.ReLU(name="relu1")(x)
    x = kl.MaxPooling2D(2, name="pool1")(x)
    y = kl.Conv2D(8, 3, padding="same", use_bias=False, name="conv2")(x)
    y = kl.BatchNormalization(name="norm2")(y)
    x = kl.ReLU(name="relu2")(kl.Add(name="add2")([x, y]))
    x = kl.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="conv3")(x)
    features = kl.GlobalAveragePooling2D(name="pool3")(x)
    model = keras.Model(image, kl.Dense(len(CLASSES), name="logits")(features), name="colours")
    _solve_head(model, keras.Model(image, features))
    return model


def _solve_head(model: keras.Model, body: keras.Model) -> None:
    images, labels = make_images(64, seed=3)
    features = np.asarray(body(images.astype("float32"), training=False))
    rows = np.hstack([features, np.ones((len(features), 1))])
    solved = np.linalg.lstsq(rows, 10 * np.eye(len(CLASSES))[labels], rcond=None)[0]
    model.get_layer("logits").set_weights([solved[:-1], solved[-1]])


def make_own_student() -> keras.Model:
    """A user's own network for the same images; cuts at `first` and `second`."""
    keras.utils.set_random_seed(1)
    kl = keras.layers
    image = keras.Input((16, 16, 3))
    x = kl.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    x = kl.AveragePooling2D(2, name="smaller")(x)
    x = kl.Conv2D(5, 3, padding="same", activation="relu", name="second")(x)
    x = kl.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="third")(x)
    x = kl.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(image, kl.Dense(len(CLASSES), name="answer")(x), name="own")


@dataclasses.dataclass(frozen=True)
class World:
    """Files a run starts from: `teacher.keras`, `own.keras`, `images.npz`, `images/`."""

    folder: pathlib.Path

    @property
    def teacher(self) -> str:
        return str(self.folder / "teacher.keras")

    @property
    def npz(self) -> str:
        return f"npz:{self.folder / 'images.npz'}"

    @property
    def images(self) -> pathlib.Path:
        return self.folder / "images"

    def flags(self, **changes: Any) -> dict[str, Any]:
        """Settings by flag name of a run of seconds."""
        flags = {
            "teacher": self.teacher,
            "teacher_cuts": ("relu1", "relu2"),
            # Three phases instead of the five that all blocks take.
            "graft": "0-1",
            "dataset": self.npz,
            "shots": 3,
            "views": 4,
            "mixed_views": 0,
            "heldout_views": 2,
            "steps": (4, 4),
            "batch": 20,
            "strategy": "one_device",
            "formats": (),
        }
        return flags | changes

    def config(self, **changes: Any) -> RunConfig:
        return RunConfig.from_flags(**self.flags(**changes))


def write_folder(folder: pathlib.Path, *, per_class: int = 4) -> None:
    """Writes PNG files, one sub-folder a class."""
    images, labels = make_images(per_class * len(CLASSES), seed=1)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / CLASSES[label] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    make_teacher().save(folder / "teacher.keras")
    make_own_student().save(folder / "own.keras")
    train, train_labels = make_images(32, seed=1)
    test, test_labels = make_images(40, seed=2)
    np.savez(
        folder / "images.npz",
        train_images=train,
        train_labels=train_labels,
        test_images=test,
        test_labels=test_labels,
        class_names=np.array(CLASSES),
    )
    write_folder(folder / "images")
    return World(folder)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of images, one sub-folder a class, to be spoilt."""
    write_folder(tmp_path / "pictures")
    return tmp_path / "pictures"
