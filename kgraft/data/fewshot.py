"""The few-shot draw: the only place where labels of transfer images are read."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np

from kgraft.data.hashes import pixels_sha256
from kgraft.data.source import CorruptImage, Source
from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError

_DRAW = 1  # keeps this use of the seed apart from the views' and the training's


@dataclasses.dataclass(frozen=True, eq=False)
class TransferSet:
    """The images a student learns from, without their labels.

    Attributes:
        images: uint8 `[height, width, channels]` each, in the order of the source.
        ids: what identifies each image in its source.
        class_names: names of the source's classes in the order of its labels, or None. They say
            nothing about any one image.
        skipped: ids of drawn images that could not be decoded; others took their place.
    """

    images: tuple[np.ndarray, ...]
    ids: tuple[str, ...]
    class_names: tuple[str, ...] | None
    skipped: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the ids in order, one a line: the same for the same sample list."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


def draw_transfer_set(
    source: Source,
    *,
    shots: int | None = None,
    images: int | None = None,
    seed: int = 0,
    on_corrupt: str = "skip",
    flag: str = "images",
) -> TransferSet:
    """Draws the transfer images: K of every class, or N of all without looking at classes.

    The draws of one seed are nested: the images of fewer shots are among those of more.

    Args:
        source: where from.
        shots: images per class; None where `images` is given.
        images: images in all; None where `shots` is given.
        seed: of the draw.
        on_corrupt: what to do with an image that cannot be decoded: `skip` takes the next drawn one
            of the same class, `stop` raises.
        flag: what `images` is set by, for messages.

    Returns:
        The images, in the order of the source.

    Raises:
        KgraftError: both or none of `shots` and `images` are given; `shots` of a source without
            labels; too few (readable) images of a class, or in all.
        CorruptImage: an image cannot be decoded and `on_corrupt` is `stop`.
    """
    if (shots is None) == (images is None):
        raise KgraftError(f"give one of shots and images; got shots={shots}, images={images}")
    if shots is None:
        queues = [np.random.default_rng([seed, _DRAW]).permutation(len(source)).tolist()]
    else:
        queues = _class_queues(source, seed)
    wanted = shots or images or 0
    flag = flag if shots is None else "shots"
    _check_counts(source, [len(queue) for queue in queues], wanted, flag)
    return _read_drawn(source, queues, wanted, on_corrupt, flag)


def write_transfer_list(transfer: TransferSet, path: str | os.PathLike[str]) -> None:
    """Writes which images were drawn, as JSON.

    Args:
        transfer: the images, with their pixels.
        path: the file; replaced in one step where it exists.
    """
    content = {
        "images": len(transfer.ids),
        "sha256": transfer.sha256,
        "pixels_sha256": pixels_sha256(transfer.images),
        "ids": transfer.ids,
        "skipped": transfer.skipped,
    }
    with writing_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _class_queues(source: Source, seed: int) -> list[list[int]]:
    """Returns, for every class, all its positions in the order they would be drawn."""
    labels = source.labels
    if labels is None:
        raise KgraftError(
            f"{source.name} has no labels, so --shots (images a class) means nothing: give "
            f"--images=N, the images in all"
        )
    by_class = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[by_class], np.arange(1, source.class_count or 0))
    return [
        np.random.default_rng([seed, _DRAW, label]).permutation(positions).tolist()
        for label, positions in enumerate(np.split(by_class, edges))
    ]


def _check_counts(source: Source, counts: Sequence[int], wanted: int, flag: str) -> None:
    scarce = int(np.argmin(counts))
    if counts[scarce] >= wanted:
        return
    if flag != "shots":
        raise KgraftError(
            f"{source.name} holds {counts[0]} readable images, fewer than --{flag}={wanted}"
        )
    found = f"class {source.class_name(scarce)!r} has {counts[scarce]} readable images"
    remedy = f"the largest possible is --shots={counts[scarce]}"
    if not counts[scarce]:
        remedy = "remove the class, or give --images=N, the images in all"
    raise KgraftError(f"{source.name}: {found}, fewer than --shots={wanted}; {remedy}")


def _read_drawn(
    source: Source, queues: list[list[int]], wanted: int, on_corrupt: str, flag: str
) -> TransferSet:
    """Reads the first images of each queue, and for corrupt ones the next, in rising order."""
    read: dict[int, np.ndarray] = {}
    skipped: list[int] = []
    usable = [list(queue) for queue in queues]
    while missing := sorted({p for queue in usable for p in queue[:wanted]} - read.keys()):
        corrupt = set()
        for position, (image, _) in zip(missing, source.attempts(missing), strict=True):
            if not isinstance(image, CorruptImage):
                read[position] = image
            elif on_corrupt == "stop":
                raise CorruptImage(f"{image}; give --on_corrupt=skip to draw another one instead")
            else:
                corrupt.add(position)
        skipped += sorted(corrupt)
        usable = [[p for p in queue if p not in corrupt] for queue in usable] if corrupt else usable
        _check_counts(source, [len(queue) for queue in usable], wanted, flag)
    drawn = sorted(read)
    return TransferSet(
        images=tuple(read[position] for position in drawn),
        ids=tuple(source.ids[position] for position in drawn),
        class_names=source.class_names,
        skipped=tuple(source.ids[position] for position in skipped),
    )
