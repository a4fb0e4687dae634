import re

import tensorflow as tf

from kgraft.comparison import machine
from kgraft.grafting import make_strategy


def test_processors_and_gpus_have_names(monkeypatch):
    strategy = make_strategy("one_device")
    assert re.search(r"\w, \d+ cores?$", machine.device_name(strategy))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["a GPU"])
    details = {"device_name": "NVIDIA H200"}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)

    class Extended:
        worker_devices = ("/device:GPU:0", "/device:GPU:1")

    class Mirrored:
        extended = Extended

    assert machine.device_name(Mirrored) == "2 x NVIDIA H200"
    Extended.worker_devices = ("/device:GPU:0",)
    assert machine.device_name(Mirrored) == "NVIDIA H200"
