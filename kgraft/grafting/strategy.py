"""Distribution strategies by name."""

import functools
import json
import os

import tensorflow as tf

from kgraft.errors import KgraftError


def _devices() -> list[str]:
    """Names of the accelerators there are, or of the CPUs where there is none."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy(_devices()[0])


def _mirrored() -> tf.distribute.Strategy:
    return _mirrored_over(tuple(_devices()))


# One per process: a second strategy over the same devices counts its all-reduces from the start
# again, and TensorFlow takes them for those of the first.
@functools.cache
def _mirrored_over(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _joined(cluster: str) -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def _multi_worker() -> tf.distribute.Strategy:
    text = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(text)["cluster"]["worker"]
    except (ValueError, KeyError, TypeError):
        raise KgraftError(
            "--strategy=multi_worker needs TF_CONFIG, JSON with cluster.worker and task; "
            f"got {text!r}"
        ) from None
    if not cluster:
        raise KgraftError(f"TF_CONFIG must list at least one cluster.worker; got {text!r}")
    return _joined(text)


def _auto() -> tf.distribute.Strategy:
    if os.environ.get("TF_CONFIG"):
        return _multi_worker()
    # One device mirrored to itself is the same computation with more machinery around it.
    return _mirrored() if len(_devices()) > 1 else _one_device()


STRATEGIES = {
    "auto": _auto,
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
}


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes the strategy that teacher, student and training share.

    The student must be made in its scope, and the teacher is best loaded there too: variables made
    outside live on one device and are copied to the others at every step.

    Args:
        name: `one_device`, `mirrored` (all GPUs, else all logical CPUs), `multi_worker` (TF_CONFIG
            says who), or `auto`: `multi_worker` where TF_CONFIG is set, else all the devices.

    Returns:
        The strategy.

    Raises:
        KgraftError: the name is unknown, or `multi_worker` finds no usable TF_CONFIG.
    """
    if name not in STRATEGIES:
        raise KgraftError(f"--strategy must be one of {', '.join(STRATEGIES)}; got {name!r}")
    return STRATEGIES[name]()


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether other processes take the same steps as this one.

    Args:
        strategy: made by `make_strategy`.
    """
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes files.

    Args:
        strategy: made by `make_strategy`.
    """
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker" and resolver.task_id == 0 and not _has_chief(resolver)
    )


def _has_chief(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> bool:
    return "chief" in resolver.cluster_spec().jobs
