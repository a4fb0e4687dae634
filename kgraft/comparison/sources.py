"""The data sets that transfer images and extra images are drawn from, as far as they are checked.

A comparison must know them as a whole: each draw and number of shots sees other images of them.
"""

from collections.abc import Sequence

import numpy as np

from kgraft.config import DataConfig
from kgraft.data import Source, open_set
from kgraft.data.hashes import images_sha256, labelled_sha256
from kgraft.errors import KgraftError


def transfer_source(data: DataConfig, *, channels: int = 3) -> Source:
    """Opens the data set that transfer images are drawn from.

    Args:
        data: the data settings.
        channels: of decoded images, where the data leaves that open.

    Raises:
        KgraftError: the data is missing or not of the form expected.
    """
    return open_set(data, data.dataset, data.split, channels=channels)


def source_hashes(data: DataConfig, source: Source) -> dict[str, str]:
    """Hashes the data sets that images are drawn from, by the names they have among settings.

    Args:
        data: the data settings.
        source: the labelled data set of the transfer images.

    Raises:
        KgraftError: the data set of the extra images is not of the form expected.
    """
    hashes = {"transfer_sha256": labelled_sha256(source)}
    if data.extra_dataset:
        # What it has for labels is of no account, because nothing reads them.
        extra = open_set(data, data.extra_dataset, data.extra_split, channels=3)
        hashes["extra_sha256"] = images_sha256(extra)
    return hashes


def check_shots(source: Source, shots_list: Sequence[int]) -> None:
    """Checks that a data set has as many images of each class as are to be drawn.

    Args:
        source: where from.
        shots_list: images per class.

    Raises:
        KgraftError: it has no labels, or too few images of a class.
    """
    if not source.has_labels or source.labels is None:
        raise KgraftError(
            f"--dataset={source.name} has no labels, and a comparison draws as many images of each "
            "class as --shots_list says: give a labelled data set (labels pick the images, and "
            "only finetune learns from them)"
        )
    counts = np.bincount(source.labels, minlength=source.class_count or 0)
    scarce, most = int(counts.argmin()), max(shots_list)
    if counts[scarce] >= most:
        return
    remedy = f"the largest possible is {counts[scarce]}"
    if not counts[scarce]:
        remedy = "remove the class from the data set"
    raise KgraftError(
        f"--shots_list={','.join(map(str, shots_list))}: class {source.class_name(scarce)!r} of "
        f"{source.name} has {counts[scarce]} images, fewer than {most}; {remedy}"
    )
