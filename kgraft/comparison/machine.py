"""What made a cell: on which day and device, and by which versions."""

import datetime
import os
import pathlib
import platform
from typing import Any

import tensorflow as tf

from kgraft.report import versions

# What figures and seconds of a cell depend on.
_PACKAGES = ("kgraft", "tensorflow", "keras")


def made_by(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Says what makes a cell, by the names of a record: `date`, `versions`, `device`.

    Args:
        strategy: what students are made under.
    """
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": now.isoformat(timespec="seconds"),
        "versions": versions(_PACKAGES),
        "device": device_name(strategy),
    }


def device_name(strategy: tf.distribute.Strategy) -> str:
    """Names the device of a strategy, such as `2 x NVIDIA H200`, or `AMD EPYC 9B14, 2 cores`.

    Args:
        strategy: what students are made under.
    """
    count = len(strategy.extended.worker_devices)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and "GPU" in strategy.extended.worker_devices[0]:
        details = tf.config.experimental.get_device_details(gpus[0])
        name = details.get("device_name", "GPU")
        return f"{count} x {name}" if count > 1 else name
    # Not all of a machine's cores need be this process's.
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return f"{_processor()}, {cores} {'core' if cores == 1 else 'cores'}"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine() or "CPU"
