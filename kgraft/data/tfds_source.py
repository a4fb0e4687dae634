"""Any image-classification set prepared by TensorFlow Datasets."""

import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kgraft.data.decode import Attempt, Encoded, decode_all
from kgraft.data.source import Source
from kgraft.data.tfds_builder import open_builder, quiet_tfds
from kgraft.errors import KgraftError

_LABEL_BATCH = 4096
_ENCODED_BATCH = 64
_JOIN = 5000

Span = tuple[str, int, int]  # name of a split, first image, one past the last


class TfdsSource(Source):
    """A split of a prepared TFDS set, read in the order of its files.

    Opening reads the set's description only. Labels cost one pass over the split that parses no
    image; images are decoded as they are asked for.
    """

    def __init__(
        self,
        name: str,
        *,
        split: str = "train",
        data_dir: str | None = None,
        manual_dir: str | None = None,
        download: bool = False,
        channels: int = 3,
    ) -> None:
        """Opens a set.

        Args:
            name: as TFDS takes it: `NAME`, `NAME/CONFIG`, `NAME:VERSION`.
            split: a split or a slice of one: `train`, `train[:10%]`, `train+test`.
            data_dir: folder of prepared sets; None for TFDS's own.
            manual_dir: folder of files downloaded by hand, for sets that need them.
            download: whether the set may be downloaded and prepared.
            channels: channels to decode to where the set leaves them open.

        Raises:
            KgraftError: the set is unknown or not prepared; the split is unknown; there is not
                exactly one image feature; the label feature is not clear; images are not uint8.
        """
        self.name = f"tfds:{name}"
        self._builder = open_builder(
            name, data_dir=data_dir, manual_dir=manual_dir, download=download
        )
        self._spans = _absolute_spans(self._builder, self.name, split)
        self._image_key = _image_key(self._builder.info.features, self.name)
        self._label_key = _label_key(self._builder.info, self.name)
        height, width, depth = self._builder.info.features[self._image_key].shape
        self._channels = depth or channels
        self.image_shape = (height, width, self._channels) if height and width else None
        self.class_names = _class_names(self._builder.info.features, self._label_key)
        self._split = split

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self._spans)

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """The `tfds_id` of each image, as TFDS makes it from the file's name and the index."""
        return tuple(
            f"{pathlib.PurePath(piece.filename).name}__{index}"
            for piece in self._builder.info.splits[self._split].file_instructions
            for index in range(piece.skip, piece.skip + piece.take)
        )

    @property
    def ids_span_splits(self) -> bool:
        """True: a `tfds_id` is of the file that an image is in."""
        return True

    @functools.cached_property
    def has_labels(self) -> bool:
        """Whether there is a label feature and the first image has a label; reads that alone."""
        if self._label_key is None:
            return False
        name, start, _ = next(span for span in self._spans if span[2] > span[1])
        decoders = tfds.decode.PartialDecoding({self._label_key})
        data = self._dataset([(name, start, start + 1)], decoders)
        return next(self._read(data))[self._label_key] >= 0

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """Class of each image, int64 `[images]`; None for a set without labels."""
        if self._label_key is None:
            return None
        decoders = tfds.decode.PartialDecoding({self._label_key})
        data = self._dataset(self._spans, decoders).batch(_LABEL_BATCH)
        batches = [np.asarray(batch[self._label_key]) for batch in self._read(data)]
        labels = np.concatenate(batches).astype(np.int64)
        # TFDS writes -1 for the class of an unlabelled example, as in ImageNet's test split.
        return None if labels.min() < 0 else labels

    def attempts(self, positions: Sequence[int] | None = None) -> Iterator[Attempt]:
        """Yields each image, or the reason it cannot be decoded, with its label."""
        if positions is None:
            encoded = self._encoded(self._spans)
        else:
            encoded = self._encoded_at(np.asarray(positions, np.int64))
        return decode_all(encoded, channels=self._channels)

    def _encoded_at(self, order: np.ndarray) -> Iterator[Encoded]:
        if np.all(np.diff(order) > 0):
            return self._encoded_rising(order)
        rising = np.unique(order)
        found = dict(zip(rising.tolist(), self._encoded_rising(rising), strict=True))
        return (found[position] for position in order.tolist())

    def _encoded_rising(self, rising: np.ndarray) -> Iterator[Encoded]:
        """Yields the undecoded images at rising positions, skipping what lies outside them."""
        wanted = iter(rising.tolist())
        position = next(wanted, None)
        for start, span in _covering(self._spans, rising):
            for offset, encoded in enumerate(self._encoded([span])):
                if start + offset == position:
                    yield encoded
                    position = next(wanted, None)

    def _encoded(self, spans: Sequence[Span]) -> Iterator[Encoded]:
        # What is not asked for may be of any shape, such as a mask a image, and is not parsed.
        features = {self._image_key, *([self._label_key] if self._label_key else [])}
        decoders = tfds.decode.PartialDecoding(
            features, decoders={self._image_key: tfds.decode.SkipDecoding()}
        )
        data = self._dataset(spans, decoders).batch(_ENCODED_BATCH).prefetch(2)
        for batch in self._read(data):
            names, images = batch["tfds_id"], batch[self._image_key]
            labels = batch[self._label_key].tolist() if self._label_key else [-1] * len(names)
            for name, image, label in zip(names, images, labels, strict=True):
                known = None if label < 0 else label
                yield Encoded(name.decode(), functools.partial(bytes, image), known)

    def _read(self, data: tf.data.Dataset) -> Iterator[Any]:
        """Yields what is in the files."""
        try:
            yield from data.as_numpy_iterator()
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError as error:
            reason = " ".join((error.message or type(error).__name__).split())
            raise KgraftError(
                f"{self.name} cannot be read: a file in {self._builder.data_path} is missing or "
                f"damaged; copy or prepare the set anew ({reason})"
            ) from error

    def _dataset(self, spans: Sequence[Span], decoders: Any) -> tf.data.Dataset:
        # One file after another: the order of `ids` must not depend on TFDS's interleaving.
        read = tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False)
        instruction = functools.reduce(
            lambda left, right: left + right,
            [
                tfds.core.ReadInstruction(name, from_=start, to=stop, unit="abs")
                for name, start, stop in spans
            ],
        )
        with quiet_tfds():
            return self._builder.as_dataset(
                split=instruction, decoders=decoders, read_config=read, shuffle_files=False
            )


def _absolute_spans(builder: Any, source: str, split: str) -> list[Span]:
    splits = builder.info.splits
    known = ", ".join(splits)
    try:
        pieces = tfds.core.ReadInstruction.from_spec(split).to_absolute(dict(splits.items()))
    except (ValueError, AssertionError, KeyError) as error:
        raise KgraftError(
            f"{source} has no split {split!r}: its splits are {known}, and slices of them "
            f"such as train[:10%]"
        ) from error
    spans = [
        (
            piece.splitname,
            piece.from_ or 0,
            splits[piece.splitname].num_examples if piece.to is None else piece.to,
        )
        for piece in pieces
    ]
    if not any(stop > start for _, start, stop in spans):
        raise KgraftError(f"{source} split {split!r} holds no images; its splits are {known}")
    return spans


def _covering(spans: Sequence[Span], rising: np.ndarray) -> Iterator[tuple[int, Span]]:
    """Yields `(position of its first image, span)` of few, short spans that hold the positions.

    Opening a span costs as much as reading some thousand undecoded images, so near ones are joined.
    """
    base = 0
    for name, start, stop in spans:
        inside = rising[(rising >= base) & (rising < base + stop - start)]
        breaks: np.ndarray = np.flatnonzero(np.diff(inside) > _JOIN) + 1
        for group in np.split(inside, breaks):
            if group.size:
                first, last = int(group[0]), int(group[-1])
                yield first, (name, start + first - base, start + last - base + 1)
        base += stop - start


def _image_key(features: tfds.features.FeaturesDict, source: str) -> str:
    keys = [
        key for key, feature in sorted(features.items()) if type(feature) is tfds.features.Image
    ]
    if len(keys) > 1 and "image" in keys:
        keys = ["image"]
    if len(keys) != 1:
        raise KgraftError(
            f"{source} is not an image-classification set: expected one image feature, found "
            f"{', '.join(keys) or 'none'} among {', '.join(features)}"
        )
    dtype = np.dtype(features[keys[0]].np_dtype)
    if dtype != np.uint8:
        raise KgraftError(f"{source}: images must be uint8 pixels 0..255; {keys[0]!r} is {dtype}")
    return keys[0]


def _label_key(info: tfds.core.DatasetInfo, source: str) -> str | None:
    """Returns the feature that holds the class; None for a set without labels."""
    keys = [key for key, feature in sorted(info.features.items()) if _is_label(key, feature)]
    supervised = info.supervised_keys[-1] if info.supervised_keys else None
    for preferred in (supervised, "label"):
        if preferred in keys:
            return preferred
    if len(keys) > 1:
        raise KgraftError(
            f"{source} has several label features and names none of them 'label': "
            f"{', '.join(keys)}; export the one you mean to a folder: or npz: source"
        )
    return keys[0] if keys else None


def _is_label(key: str, feature: tfds.features.FeatureConnector) -> bool:
    if isinstance(feature, tfds.features.ClassLabel):
        return True
    if key != "label" or not isinstance(feature, tfds.features.Tensor | tfds.features.Scalar):
        return False
    return feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)


def _class_names(
    features: tfds.features.FeaturesDict, label_key: str | None
) -> tuple[str, ...] | None:
    feature = features[label_key] if label_key else None
    if not isinstance(feature, tfds.features.ClassLabel):
        return None
    names = tuple(feature.names)
    # TFDS counts "0", "1", ... where a set names no classes: that is no name to match by.
    return None if names == tuple(str(i) for i in range(len(names))) else names
