"""Which images a run learns from and is judged by: the settings of the data, checked when made."""

import dataclasses
import os
import pathlib
import re
from typing import Literal, NamedTuple

from kgraft.checks import at_least, check_seed, check_source, one_of, whole
from kgraft.errors import KgraftError

AUGMENTATIONS = ("none", "crop_flip", "imagenet")
RESIZES = ("auto", "none", "crop")
ON_CORRUPT = ("skip", "stop")
AUTO: Literal["auto"] = "auto"
# Views of a hundred images: beyond, mixed ones bring the closed form hardly more.
ENOUGH_VIEWS = 1600
# The teacher runs over each of them, which takes long on large images. Room for all of 224 pixels,
# where they are known to help; what fewer large ones bring is not measured.
ENOUGH_BYTES = 256 * 2**20
# Held-out views are run about nine times a phase; more would cost much and choose no better.
MOST_HELDOUT = 512
_VERSION = re.compile(r":\d+(\.[\d*]+)*$")
_COUNTS = (
    "shots",
    "images",
    "views",
    "extra_images",
    "extra_views",
    "heldout_views",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The transfer images, their views and the test set of the report.

    Attributes:
        dataset: source of the transfer images, `tfds:NAME`, `folder:PATH`, `npz:PATH` or
            `embedded:NAME`.
        split: split of the source the transfer images come from, where it has splits (a folder has
            none).
        data_dir, manual_dir: folders of prepared and of hand-downloaded TFDS data; None for
            TFDS's own.
        download: whether TFDS may download and prepare the data.
        shots: images per class; None where `images` counts them.
        images: images in all, drawn without looking at classes; None where `shots` is given.
        seed: seed of the draw, the views and the training order.
        augment: name of the augmentation.
        views: training views per image.
        mixed_views: further training views in all, each a mix of two views; `auto`: as many as
            bring the views to 1,600 in all, large ones to 256 MiB in all, and none with `augment`
            `none`.
        extra_dataset, extra_split: source of further training images of any kind, whose labels are
            not read, in the form of `dataset`; None for none.
        extra_images: how many of them, drawn without looking at classes.
        extra_views: training views of each of them.
        extra_augment: name of their augmentation.
        heldout_views: held-out views per image, never trained on; 512 views in all at most.
        resize: `none`, `crop` (scaled to cover the size, centre crop), or `auto`: `crop` where the
            images of the source differ in size.
        on_corrupt: `skip` an unreadable image (counted, another one drawn) or `stop`.
        eval_dataset, eval_split, eval_data_dir: the labelled test set of the report; None for none.
        labels: file of class names, one a line in the order of the logits; None for the dataset's.
    """

    dataset: str
    split: str = "train"
    data_dir: str | None = None
    manual_dir: str | None = None
    download: bool = False
    shots: int | None = 10
    images: int | None = None
    seed: int = 0
    augment: str = "crop_flip"
    views: int = 16
    mixed_views: int | Literal["auto"] = AUTO
    extra_dataset: str | None = None
    extra_split: str = "train"
    extra_images: int = 1000
    extra_views: int = 10
    extra_augment: str = "imagenet"
    heldout_views: int = 2
    resize: str = "auto"
    on_corrupt: str = "skip"
    eval_dataset: str | None = None
    eval_split: str = "test"
    eval_data_dir: str | None = None
    labels: str | None = None

    def __post_init__(self) -> None:
        check_source("dataset", self.dataset)
        for flag in ("extra_dataset", "eval_dataset"):
            if getattr(self, flag):
                check_source(flag, getattr(self, flag))
        if (self.shots is None) == (self.images is None):
            raise KgraftError(
                "give --shots (images a class) or --images (in all) and leave the other at none; "
                f"got --shots={self.shots or 'none'} and --images={self.images or 'none'}"
            )
        for flag in _COUNTS:
            whole(flag, getattr(self, flag))
        at_least("shots", self.shots, 1)
        at_least("images", self.images, 1)
        check_seed(self.seed)
        at_least("views", self.views, 1)
        _check_mixed_views(self.mixed_views)
        at_least("extra_images", self.extra_images, 1)
        at_least("extra_views", self.extra_views, 1)
        at_least("heldout_views", self.heldout_views, 1)
        if self.heldout_views > MOST_HELDOUT:
            raise KgraftError(
                f"--heldout_views must be at most {MOST_HELDOUT}, of which there are no more in "
                f"all; got {self.heldout_views}"
            )
        one_of("augment", self.augment, AUGMENTATIONS)
        one_of("extra_augment", self.extra_augment, AUGMENTATIONS)
        one_of("resize", self.resize, RESIZES)
        one_of("on_corrupt", self.on_corrupt, ON_CORRUPT)


def _check_mixed_views(value: int | str) -> None:
    if value == AUTO:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise KgraftError(f"--mixed_views must be auto or a whole number; got {value!r}")
    at_least("mixed_views", value, 0)


def same_folder(one: str, other: str) -> bool:
    """Returns whether two specs are folders of which one is, or holds, the other.

    Args:
        one: `folder:DIR`, or another spec.
        other: as `one`.
    """
    if not (one.startswith("folder:") and other.startswith("folder:")):
        return False
    first, second = (_path(spec) for spec in (one, other))
    return first == second or first in second.parents or second in first.parents


class Place(NamedTuple):
    """Where images come from, as settings tell it.

    Attributes:
        dataset: a spec, or None for no set.
        split: of the set, where it has any.
        data_dir: folder of prepared TFDS data.
    """

    dataset: str | None
    split: str
    data_dir: str | None


def same_images(one: Place, other: Place) -> bool:
    """Returns whether two places hold the same images, as far as the settings tell.

    Args:
        one: a place.
        other: another. Splits mean nothing to a folder, and one inside the other shares its images;
            `data_dir` means something to `tfds:` alone.
    """
    if one.dataset is None or other.dataset is None:
        return False
    one_place = one.data_dir == other.data_dir or not one.dataset.startswith("tfds:")
    same = same_set(one.dataset, other.dataset) and one.split == other.split and one_place
    return same or same_folder(one.dataset, other.dataset)


def same_set(one: str | None, other: str | None) -> bool:
    """Returns whether two specs are one data set.

    Args:
        one: `npz:FILE` by whatever path, `tfds:NAME` of whatever version, another spec, or None for
            no set.
        other: as `one`.
    """
    if one is None or other is None:
        return False
    if one.startswith("npz:") and other.startswith("npz:"):
        return _path(one) == _path(other)
    if one.startswith("tfds:") and other.startswith("tfds:"):
        return _VERSION.sub("", one) == _VERSION.sub("", other)
    return one == other


def _path(spec: str) -> pathlib.Path:
    return pathlib.Path(os.path.expanduser(spec.partition(":")[2])).resolve()
