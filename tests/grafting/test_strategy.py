"""Strategies by name, on the devices of this machine."""

import json

import pytest
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.grafting.strategy import has_several_workers, is_chief, make_strategy


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.mark.parametrize("name", ["auto", "one_device"])
def test_one_device(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)
    assert not has_several_workers(strategy)


def test_mirrored_takes_every_device() -> None:
    strategy = make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices(kind))
    assert make_strategy("mirrored") is strategy


def test_unknown_name() -> None:
    with pytest.raises(KgraftError, match=r"--strategy must be one of auto, .*; got 'tpu'"):
        make_strategy("tpu")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"cluster": {}})])
def test_multi_worker_without_a_cluster(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(KgraftError, match="--strategy=multi_worker needs TF_CONFIG"):
        make_strategy("multi_worker")


def test_auto_follows_tf_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": []}}))
    with pytest.raises(KgraftError, match=r"at least one cluster\.worker"):
        make_strategy("auto")
