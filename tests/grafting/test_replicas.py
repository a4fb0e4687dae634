"""Several replicas and workers give the weights of one device."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from grafting_cases import load, start_distil, wait_distil

STRATEGIES = ("one_device", "mirrored")


def test_two_replicas(tmp_path: Path) -> None:
    # 20 views: batches of 7 need padding for two replicas and end an epoch with 6, which do not.
    runs = [{"name": name, "strategy": name, "batch": 7, "last": 2} for name in STRATEGIES]
    int8 = {"batch": 7, "steps": 3, "last": 2, "fake_quant": "int8"}
    runs += [{"name": f"{name}_int8", "strategy": name, **int8} for name in STRATEGIES]
    muon = {"batch": 7, "last": 1, "optimizer": "muon"}
    runs += [{"name": f"{name}_muon", "strategy": name, **muon} for name in STRATEGIES]
    # The statistics of a BatchNorm are those of the whole batch, where nothing is padded.
    # In front of it a bias changes nothing: its gradient is noise, which Adam would scale up.
    norms = {"batch": 10, "batchnorm": True, "optimizer": "sgd"}
    runs += [{"name": f"{name}_norms", "strategy": name, **norms} for name in STRATEGIES]
    wait_distil(start_distil(tmp_path, runs))
    for kind in ("", "_int8", "_muon", "_norms"):
        pairs = zip(
            load(tmp_path, f"one_device{kind}"), load(tmp_path, f"mirrored{kind}"), strict=True
        )
        for one, two in pairs:
            np.testing.assert_allclose(one, two, atol=1e-5)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_workers(tmp_path: Path) -> None:
    cluster = {"worker": [f"localhost:{_free_port()}" for _ in range(2)]}
    # Enough steps for the workers to differ in how many they would do in a call.
    options = {"batch": 7, "steps": 100}
    running = []
    for index in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        runs = [{"name": "workers", "strategy": "multi_worker", **options}]
        running.append(start_distil(tmp_path, runs, tf_config=config))
    for process in running:
        wait_distil(process)
    wait_distil(start_distil(tmp_path, [{"name": "one", **options}]))
    for one, workers in zip(load(tmp_path, "one"), load(tmp_path, "workers"), strict=True):
        np.testing.assert_allclose(one, workers, atol=1e-4)
