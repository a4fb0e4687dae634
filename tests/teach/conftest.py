import keras
import numpy as np
import pytest
from keras import layers


def shapes_set(images, *, seed, size=8, channels=1):
    """Two easy classes: bright at the top, or bright at the bottom, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    pixels = rng.integers(0, 120, (images, size, size, channels))
    for image, label in zip(pixels, labels, strict=True):
        image[label * size // 2 : (label + 1) * size // 2] += 120
    return pixels.astype(np.uint8), labels.astype(np.int64)


@pytest.fixture
def easy_set(tmp_path):
    """Path of an .npz file with a train and a test split of 8x8 grey images."""
    train, test = shapes_set(70, seed=0), shapes_set(40, seed=1)
    path = tmp_path / "easy.npz"
    np.savez(
        path,
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        class_names=np.array(["top", "bottom"]),
    )
    return path


@pytest.fixture
def tiny_model(tmp_path):
    """Path of an untrained conv - BatchNorm - ReLU - Dense model for the easy set."""
    image = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dense(2)(layers.Flatten()(x))
    keras.Model(image, x).save(tmp_path / "tiny.keras")
    return tmp_path / "tiny.keras"


@pytest.fixture
def settings(easy_set, tiny_model, tmp_path):
    """Settings of a training of about a second, as keyword arguments of TeachConfig."""
    return {
        "model": str(tiny_model),
        "dataset": f"npz:{easy_set}",
        "eval_dataset": f"npz:{easy_set}",
        "output": str(tmp_path / "out" / "teacher.keras"),
        "workdir": str(tmp_path / "work"),
        "epochs": 3,
        "batch": 16,
        "crop_padding": 1,
        "peak_rate": 0.02,
    }
