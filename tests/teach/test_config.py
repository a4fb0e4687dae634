import subprocess
import sys

import pytest

from kgraft.errors import KgraftError
from kgraft.teach.config import TeachConfig


def config(**changes):
    return TeachConfig(
        **{"model": "zoo:fashion_vgg", "dataset": "npz:a.npz", "output": "a.keras"} | changes
    )


def test_defaults_are_valid():
    assert config().to_dict()["epochs"] == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "fashion_vgg"}, "--model must be zoo:NAME or PATH.keras; got 'fashion_vgg'"),
        ({"output": "a.h5"}, "--output must be the path of a .keras file; got 'a.h5'"),
        ({"dataset": "cifar10"}, "--dataset must be tfds:NAME"),
        ({"eval_dataset": "cifar10"}, "--eval_dataset must be tfds:NAME"),
        ({"augment": "flip"}, "--augment must be one of none, crop_flip, imagenet; got 'flip'"),
        ({"resize": "pad"}, "--resize must be one of auto, none, crop; got 'pad'"),
        ({"precision": "bfloat16"}, "--precision must be one of float32, mixed_bfloat16"),
        ({"epochs": -1}, "--epochs must be at least 0; got -1"),
        ({"batch": 1}, "--batch must be at least 2; got 1"),
        ({"peak_rate": 0.0}, "--peak_rate must be above 0; got 0.0"),
        ({"peak_rate": float("nan")}, "--peak_rate must be above 0; got nan"),
        ({"weight_decay": -1e-4}, "--weight_decay must be at least 0"),
        ({"warmup": 1.0}, "--warmup must be at least 0 and below 1; got 1.0"),
        ({"momentum": 1.0}, "--momentum must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "--label_smoothing must be at least 0"),
        ({"crop_padding": -1}, "--crop_padding must be at least 0"),
        ({"seed": -1}, "--seed must be from 0 to 4294967295; got -1"),
    ],
)
def test_bad_values_name_the_flag(changes, message):
    with pytest.raises(KgraftError) as caught:
        config(**changes)
    assert message in str(caught.value)


def test_importing_it_does_not_load_tensorflow():
    code = "import sys, kgraft.teach.config; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
