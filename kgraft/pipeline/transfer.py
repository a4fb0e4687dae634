"""The transfer images drawn and their views made."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable

import numpy as np

from kgraft.config import DataConfig
from kgraft.data import (
    Source,
    TransferSet,
    add_mixed_views,
    draw_transfer_set,
    make_views,
    open_set,
    resolve_resize,
)
from kgraft.data.aligned import aligned_empty
from kgraft.data.hashes import pixels_sha256
from kgraft.data_config import ENOUGH_BYTES, ENOUGH_VIEWS, MOST_HELDOUT
from kgraft.errors import KgraftError
from kgraft.graph import Graph
from kgraft.pipeline.stopwatch import tell
from kgraft.pipeline.test_set import Size, TestSet

# With --augment=none there is one view an image, so every eighth image is held out instead.
_HELDOUT_SHARE = 8


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a student learns from.

    Attributes:
        images: the few-shot draw.
        size: `(height, width, channels)` of the views.
        resize: how images are fitted to the size.
        views: training views, uint8 `[n, height, width, channels]`: first those of the transfer
            images, then those of extra images, then mixed ones.
        owners: for each of the training views that are of transfer images and not mixed, in their
            order, the number of its image, int64 `[plain]`.
        heldout: held-out views, uint8, same shape; all are of transfer images.
        heldout_note: what the held-out views are, for the report.
        extra: further training images, or None.
        mixed: how many of the training views are mixed.
    """

    images: TransferSet
    size: Size
    resize: str
    views: np.ndarray
    owners: np.ndarray
    heldout: np.ndarray
    heldout_note: str
    extra: TransferSet | None = None
    mixed: int = 0

    @property
    def plain(self) -> int:
        """How many of the training views are of transfer images and not mixed."""
        return len(self.owners)


def open_transfer(config: DataConfig, teacher: Graph) -> Transfer:
    """Draws the transfer images and makes their views.

    Args:
        config: the data settings.
        teacher: the whole teacher, for the size of its images.

    Returns:
        Views for training and held-out views.

    Raises:
        KgraftError: the source, the draw or an image is not as expected.
    """
    images, size, resize = _draw(config, teacher)
    make = _maker(config, size, resize)
    plain, owners, heldout, note = _make_views(config, images.images, make)
    extra, extra_views = _open_extra(config, teacher, size, views=config.extra_views)
    others = _joined(plain, extra_views)
    mixed = _count_mixed(config, len(others), size)
    views = add_mixed_views(others, mixed, seed=config.seed)
    return Transfer(images, size, resize, views, owners, heldout, note, extra, mixed)


def fresh_views(config: DataConfig, teacher: Graph, count: int) -> np.ndarray:
    """Draws the same images again and makes views of them that `open_transfer` does not.

    Views of extra images and mixed views come to as many for each view of a transfer image as
    there.

    Args:
        config: the data settings.
        teacher: the whole teacher, for the size of its images.
        count: views of each transfer image.

    Returns:
        uint8 `[n, height, width, channels]`: as the `views` of a `Transfer`, of numbers beyond
        those of its training and held-out views. Where an augmentation has few outcomes
        (`crop_flip` has 162 an image) some are alike all the same.

    Raises:
        KgraftError: the source, the draw or an image is not as expected.
    """
    images, size, resize = _draw(config, teacher)
    make = _maker(config, size, resize)
    plain = make(images.images, views=count, first_view=config.views + config.heldout_views)
    extra_count = max(1, round(config.extra_views * count / config.views))
    further, extra = _open_extra(config, teacher, size, views=extra_count, first=config.extra_views)
    each = 1 if config.extra_augment == "none" else config.extra_views
    there = len(images.images) * config.views + (len(further.ids) * each if further else 0)
    mixed = round(count / config.views * _count_mixed(config, there, size))
    return add_mixed_views(_joined(plain, extra), mixed, seed=config.seed)


def _maker(config: DataConfig, size: Size, resize: str) -> Callable[..., np.ndarray]:
    """What makes views of transfer images."""
    return functools.partial(
        make_views, augment=config.augment, size=size, seed=config.seed, resize=resize
    )


def _count_mixed(config: DataConfig, others: int, size: Size) -> int:
    """How many mixed views go with a number of other training views."""
    if isinstance(config.mixed_views, int):
        return config.mixed_views
    # Without augmentation images are wanted as they are; a single view has no other to mix with.
    if config.augment == "none" or others < 2:
        return 0
    return max(0, min(ENOUGH_VIEWS, ENOUGH_BYTES // math.prod(size)) - others)


def _draw(config: DataConfig, teacher: Graph) -> tuple[TransferSet, Size, str]:
    """Draws the transfer images; with the size of views, and how images are fitted to it."""
    source = _open(config, teacher, config.dataset, config.split)
    size = _size(teacher, source)
    resize = resolve_resize(source, config.resize)
    images = draw_transfer_set(
        source,
        shots=config.shots,
        images=config.images,
        seed=config.seed,
        on_corrupt=config.on_corrupt,
    )
    return images, size, resize


def _open(config: DataConfig, teacher: Graph, dataset: str, split: str) -> Source:
    return open_set(config, dataset, split, channels=teacher.input_shape[-1] or 3)


def _open_extra(
    config: DataConfig, teacher: Graph, size: Size, *, views: int, first: int = 0
) -> tuple[TransferSet | None, np.ndarray | None]:
    """Draws the extra images and makes their views."""
    drawn = _draw_extra(config, teacher)
    if drawn is None:
        return None, None
    images, source = drawn
    fits = source.image_shape is not None and source.image_shape[:2] == size[:2]
    made = make_views(
        images.images,
        augment=config.extra_augment,
        views=views,
        size=size,
        seed=config.seed,
        resize="none" if fits else "crop",
        first_view=first,
        name="extra image",
    )
    return images, made


def _draw_extra(config: DataConfig, teacher: Graph) -> tuple[TransferSet, Source] | None:
    if config.extra_dataset is None:
        return None
    source = _open(config, teacher, config.extra_dataset, config.extra_split)
    images = draw_transfer_set(
        source,
        images=config.extra_images,
        seed=config.seed,
        on_corrupt=config.on_corrupt,
        flag="extra_images",
    )
    return images, source


def with_extra(transfer: Transfer, config: DataConfig, teacher: Graph) -> Transfer:
    """Draws the extra images that a transfer was opened without; no views are made of them.

    Args:
        transfer: opened without them.
        config: the data settings, which name them or not.
        teacher: the whole teacher, for the channels of its images.

    Raises:
        KgraftError: the source, the draw or an image is not as expected.
    """
    drawn = _draw_extra(config, teacher)
    return transfer if drawn is None else dataclasses.replace(transfer, extra=drawn[0])


def _joined(first: np.ndarray, second: np.ndarray | None) -> np.ndarray:
    if second is None:
        return first
    joined = aligned_empty((len(first) + len(second), *first.shape[1:]), np.uint8)
    np.concatenate([first, second], out=joined)
    return joined


def transfer_sha256(transfer: Transfer) -> str:
    """Hashes the images that training sees: the transfer images and behind them the extra ones.

    Args:
        transfer: with its pixels.
    """
    extra = transfer.extra.images if transfer.extra else ()
    return pixels_sha256((*transfer.images.images, *extra))


def without_pixels(transfer: Transfer) -> Transfer:
    """Lets go of the transfer images themselves, which may be large photographs.

    Args:
        transfer: with or without them.

    Returns:
        The same ids, names and views.
    """
    images = dataclasses.replace(transfer.images, images=())
    extra = transfer.extra and dataclasses.replace(transfer.extra, images=())
    return dataclasses.replace(transfer, images=images, extra=extra)


def _make_views(
    config: DataConfig, images: tuple[np.ndarray, ...], make: Callable[..., np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Makes training views, whose they are, held-out views and a note of what the latter are."""
    if config.augment == "none":
        train, held = _split(len(images))
        note = f"{len(held)} transfer images that training does not see"
        views, heldout = (make([images[i] for i in rows], views=1) for rows in (train, held))
        return views, train, heldout, note
    chosen = _spread(images, max(1, MOST_HELDOUT // config.heldout_views))
    return (
        make(images, views=config.views),
        np.repeat(np.arange(len(images)), config.views),
        make(chosen, views=config.heldout_views, first_view=config.views),
        f"{config.heldout_views} further views of each of {len(chosen)} transfer images",
    )


def _spread(images: tuple[np.ndarray, ...], most: int) -> tuple[np.ndarray, ...]:
    """Picks images evenly over all."""
    rows = np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)
    return tuple(images[row] for row in rows)


def _split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images to train on and of those to hold out."""
    if count < 2:
        raise KgraftError(
            f"--augment=none holds images out of training, so it needs at least 2; got {count}"
        )
    rows = np.arange(count)
    held = rows[:: min(_HELDOUT_SHARE, count)]
    return np.setdiff1d(rows, held), held


def _size(teacher: Graph, source: Source) -> Size:
    height, width, channels = teacher.input_shape[1:]
    shape = source.image_shape
    if height is None or width is None:
        if shape is None:
            raise KgraftError(
                "the teacher takes images of any size and so has this data set: give a teacher "
                "with a fixed input size"
            )
        height, width = shape[:2]
    return height, width, channels or 3


def class_names(
    config: DataConfig, transfer: TransferSet, test: TestSet | None, classes: int
) -> tuple[str, ...] | None:
    """Finds the names of the logits.

    Args:
        config: the data settings; `labels` wins.
        transfer: the drawn images, with their source's class names.
        test: the test set, or None.
        classes: number of logits.

    Returns:
        One name per logit, or None where nothing says.

    Raises:
        KgraftError: the file `labels` cannot be read or has another number of names.
    """
    if config.labels:
        try:
            text = pathlib.Path(config.labels).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise KgraftError(
                f"--labels must be a text file, one name a line; {config.labels}: {reason}"
            ) from None
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(names) != classes:
            raise KgraftError(
                f"--labels={config.labels} must have one name for each of the {classes} logits, "
                f"one a line; it has {len(names)}"
            )
        _warn_of_other_names(config, transfer, names)
        return names
    sources = {config.dataset: transfer.class_names}
    if test is not None:
        sources.setdefault(config.eval_dataset or "", test.source.class_names)
    for source, found in sources.items():
        if found is not None and len(found) == classes:
            if source.startswith("folder:"):
                tell(
                    f"taking the names of the logits from the sub-folders of {source}, in the "
                    f"order of their names ({found[0]}, ...); where the teacher's "
                    "order is another, give --labels=FILE"
                )
            return tuple(found)
    return None


def _warn_of_other_names(config: DataConfig, transfer: TransferSet, names: tuple[str, ...]) -> None:
    """Tells of classes that are no logits: a typing error, or the wrong file."""
    others = [name for name in transfer.class_names or () if name not in names]
    if others:
        tell(
            f"{config.dataset} has the class {others[0]!r}, and --labels={config.labels} no such "
            f"name ({names[0]}, ...): where they should be the same, mend the file; its names go "
            "into the exported files as they are"
        )
