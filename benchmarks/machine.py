"""The machine a benchmark ran on: its processor, its software, and how fast it can multiply."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.command import tell
from kgraft.report.environment import PACKAGES, peak_memory_mb, versions

# Large enough that memory and call overhead do not show, small enough to be repeated often.
MATRIX_SIZE = 4096
# Floating-point operations of one product, two for each multiply-add.
OPERATIONS = 2 * MATRIX_SIZE**3
_QUIET = 0.05


class MatrixProduct:
    """A large matrix product in TensorFlow: what the machine can do at best."""

    def __init__(self, dtype: str = "float32") -> None:
        """Makes the matrices and runs the product once.

        Args:
            dtype: type of the factors.
        """
        rng = np.random.default_rng(0)
        size = [MATRIX_SIZE, MATRIX_SIZE]
        self._factors = [tf.constant(rng.normal(size=size), dtype) for _ in range(2)]
        self._multiply = tf.function(tf.matmul, autograph=False)
        self.seconds()

    def seconds(self) -> float:
        """Runs the product once and returns how long it took."""
        began = time.perf_counter()
        # One element is enough to wait for the whole, and costs no copy.
        float(self._multiply(*self._factors)[0, 0])
        return time.perf_counter() - began


class OtherWork:
    """How much of the processors other programs took meanwhile; what they take spoils figures."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def share(self) -> float | None:
        """Returns the share since the start, 0..1; None where the system does not tell.

        Processes that this one has started count as its own when they have ended.
        """
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        others = busy - self._busy - (_own_seconds() - self._own)
        cpus = os.cpu_count() or 1
        return max(0.0, others / (time.monotonic() - self._began) / cpus)


def _busy_seconds() -> float | None:
    """Seconds that all processors together have worked since the system started."""
    try:
        fields = Path("/proc/stat").read_text("utf-8").split("\n")[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft_interrupts = (int(f) for f in fields[:7])
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return sum(times[:4])


def cpu_name() -> str:
    """Returns the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe(threads: int | None, others: OtherWork) -> dict[str, Any]:
    """Returns what a reader needs to judge the figures of this machine.

    Args:
        threads: threads the benchmark was told to use; None for every core.
        others: started when the benchmark did.
    """
    share = others.share()
    if share is not None and share > _QUIET:
        tell(
            f"other programs took {share:.0%} of the processors: the figures are not to be trusted"
        )
    return {
        "other_programs_share": share,
        "cpu": cpu_name(),
        "cpus": _cores(),
        "threads": threads or _cores(),
        "system": platform.platform(),
        "versions": versions((*PACKAGES, "torch")),
    }


def _cores() -> int:
    """The cores this process may use; where the system does not tell, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> None:
    """Sets TensorFlow's threads, before its first operation.

    Args:
        threads: threads within and between operations; None leaves TensorFlow's choice.
    """
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def split_cpu(devices: int) -> None:
    """Makes several logical devices of the processor, before TensorFlow's first operation.

    Args:
        devices: how many; 1 changes nothing.
    """
    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        tf.config.set_logical_device_configuration(cpu, logical)


def resident_mb() -> float:
    """Returns the memory that this process has now, in MiB; where that is not told, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    except OSError:
        return peak_memory_mb()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
