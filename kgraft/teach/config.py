"""What a teacher's training is asked to do: a frozen dataclass, checked when it is made.

This module imports no TensorFlow, so that the command line can check its flags before it is loaded.
"""

import dataclasses
import pathlib
from typing import Any

from kgraft.checks import check_seed, check_source, one_of
from kgraft.data_config import AUGMENTATIONS, RESIZES
from kgraft.errors import KgraftError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class TeachConfig:
    """The training of one teacher on a labelled set.

    Attributes:
        model: `zoo:NAME` for a new network, or `PATH.keras` to start from its weights.
        dataset: source of the labelled training images, `tfds:NAME`, `folder:PATH`, `npz:PATH` or
            `embedded:NAME`.
        output: the `.keras` file to write.
        split: split of the source to train on, where it has splits (a folder has none).
        data_dir, manual_dir: folders of prepared and of hand-downloaded TFDS data.
        download: whether TFDS may download and prepare the data.
        eval_dataset, eval_split, eval_data_dir: the labelled test set, read once after the last
            epoch; no dataset means the test split of a `tfds:` or `embedded:` `dataset`, and no
            test for others; no split means no test.
        resize: `none`, `crop` (scaled to cover the size, centre crop), or `auto`: `crop` where the
            images of the source differ in size.
        augment: name of the augmentation.
        crop_padding: zero pixels on each side before the random crop of `crop_flip`.
        epochs: passes over the training images; 0 trains nothing.
        batch: images per update; the last uneven batch of an epoch is left out.
        peak_rate: highest learning rate of the one-cycle schedule.
        warmup: part of all updates over which the rate rises to its peak.
        momentum: Nesterov momentum of SGD.
        weight_decay: L2 penalty on convolution and dense kernels.
        label_smoothing: share of each target spread evenly over the classes.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`; the written file is float32.
        memory_mb: training images up to this size, in MiB, are held decoded in memory; larger sets
            are decoded anew in every epoch.
        seed: seed of the starting weights, the order and the augmentation.
        workdir: folder for checkpoints and the report; new or empty, or with `resume` the folder of
            a training of the same settings that was stopped.
        resume: whether to go on from the last finished epoch in `workdir`.
    """

    model: str
    dataset: str
    output: str
    split: str = "train"
    data_dir: str | None = None
    manual_dir: str | None = None
    download: bool = False
    eval_dataset: str | None = None
    eval_split: str | None = "test"
    eval_data_dir: str | None = None
    resize: str = "auto"
    augment: str = "crop_flip"
    crop_padding: int = 4
    epochs: int = 30
    batch: int = 128
    peak_rate: float = 0.1
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    precision: str = "float32"
    memory_mb: int = 4096
    seed: int = 0
    workdir: str = "kgraft_teach"
    resume: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        check_seed(self.seed)
        for flag, low in (("epochs", 0), ("batch", 2), ("crop_padding", 0), ("memory_mb", 0)):
            _between(flag, getattr(self, flag), low, float("inf"))
        _between("peak_rate", self.peak_rate, 0, float("inf"), open_low=True)
        _between("weight_decay", self.weight_decay, 0, float("inf"))
        for flag in ("warmup", "momentum", "label_smoothing"):
            _between(flag, getattr(self, flag), 0, 1, open_high=True)

    def _check_names(self) -> None:
        if not self.model.startswith("zoo:") and not self.model.endswith(".keras"):
            raise KgraftError(f"--model must be zoo:NAME or PATH.keras; got {self.model!r}")
        if pathlib.Path(self.output).suffix != ".keras":
            raise KgraftError(f"--output must be the path of a .keras file; got {self.output!r}")
        check_source("dataset", self.dataset)
        if self.eval_dataset:
            check_source("eval_dataset", self.eval_dataset)
        one_of("resize", self.resize, RESIZES)
        one_of("augment", self.augment, AUGMENTATIONS)
        one_of("precision", self.precision, PRECISIONS)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as a plain dict, for the report and for resuming."""
        return dataclasses.asdict(self)


def _between(
    flag: str,
    value: float,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        words = f"above {low}" if open_low else f"at least {low}"
        words += f" and below {high}" if open_high else ""
        raise KgraftError(f"--{flag} must be {words}; got {value}")
