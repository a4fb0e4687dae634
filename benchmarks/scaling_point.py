"""One point of `benchmarks.scaling`, measured in a process of its own."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kgraft.cli.load_tensorflow import load_tensorflow

_IMAGES = 64


def make(**settings: Any) -> Callable[[], dict[str, Any]]:
    """Loads TensorFlow and returns a function that measures.

    Args:
        **settings: of `run_point`.
    """
    load_tensorflow()
    return lambda: run_point(**settings)


def run_point(
    *,
    blocks: int,
    views: int,
    depth: int,
    size: int,
    replicas: int,
    steps: tuple[int, int],
    precision: str,
    threads: int | None,
) -> dict[str, Any]:
    """Distills a CIFAR ResNet of random weights on noise, all blocks but the first at half width.

    Args:
        blocks: of the teacher, the first of which is kept.
        views: training views in all.
        depth: layers of the teacher.
        size: height and width of the images.
        replicas: logical devices that the processor is split into.
        steps: updates of each phase of stage one and of stage two.
        precision: as `--precision` has it.
        threads: threads of TensorFlow; None for its choice.

    Returns:
        Seconds in all and by part, memory before and at the peak, how often a view ran through the
        teacher's first layer, and the size of the teacher.
    """
    import keras
    import numpy as np

    from benchmarks import machine, whole
    from benchmarks.counted import Counted
    from kgraft.config import DataConfig, RunConfig, StudentConfig, TeacherConfig, TrainConfig
    from kgraft.graph import total_macs, trace_model
    from kgraft.report import peak_memory_mb
    from kgraft.zoo import build

    machine.set_threads(threads)
    machine.split_cpu(replicas)
    network = build(f"cifar_resnet{depth}", input_shape=(size, size, 3))
    image = keras.Input((size, size, 3))
    teacher = keras.Model(image, network(Counted()(image)), name="teacher")
    before = peak_memory_mb()
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size, 3), np.uint8)
        np.savez(Path(folder, "images.npz"), images=pixels)
        config = RunConfig(
            TeacherConfig("teacher", cuts=blocks),
            DataConfig(
                f"npz:{folder}/images.npz",
                shots=None,
                images=_IMAGES,
                views=views // _IMAGES,
                mixed_views=0,
            ),
            StudentConfig("width:0.5", graft=f"1-{blocks - 1}"),
            TrainConfig(
                feature_weight=0.0,
                steps=steps,
                precision=precision,
                strategy="mirrored" if replicas > 1 else "one_device",
            ),
            workdir=f"{folder}/run",
        )
        found = whole.distill_to_fused(config, teacher)
    return {
        "seconds": found.total,
        "seconds_by_part": found.seconds,
        "phases": len(found.phases),
        "memory_before_mb": before,
        "peak_memory_mb": peak_memory_mb(),
        "teacher_runs_per_view": Counted.images / found.views,
        "teacher_macs": total_macs(trace_model(network)),
        "teacher_parameters": network.count_params(),
    }
