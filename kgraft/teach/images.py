"""Training images as a `tf.data` pipeline: an order and an augmentation for every epoch."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kgraft.data import Source, eval_batches, fit_image
from kgraft.errors import KgraftError
from kgraft.teach.augment import crop_flip, resized_crop_flip

ORDER, AUGMENT = 1, 2
# TFDS sets are read as a stream: neighbours are kept together and mixed within a pool of many
# chunks, so that an epoch opens each file a few times and not once an image.
CHUNK, POOL = 128, 8192


@dataclasses.dataclass(frozen=True)
class TrainingImages:
    """Labelled images that can be gone through epoch by epoch.

    Attributes:
        source: where the images come from.
        labels: int64 `[images]`.
        held: the decoded images, uint8 `[images, height, width, channels]`; None where they are
            decoded anew in every epoch.
        shape: `(height, width, channels)` that the model takes.
        resize: `none` or `crop`.
        augment: name of the augmentation.
        crop_padding: zero pixels around images before `crop_flip`.
        batch: images per update.
        seed: seed of orders and augmentation.
    """

    source: Source
    labels: np.ndarray
    held: np.ndarray | None
    shape: tuple[int, int, int]
    resize: str
    augment: str
    crop_padding: int
    batch: int
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def steps(self) -> int:
        """Updates in one epoch; the last uneven batch is left out."""
        return len(self.labels) // self.batch

    def epoch(self, number: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yields the batches of one epoch.

        Args:
            number: the epoch, from 0; order and augmentation follow from it and the seed alone.

        Yields:
            `(images, labels)`: uint8 `[batch, height, width, channels]` and int64 `[batch]`.

        Raises:
            KgraftError: an image cannot be decoded, or does not fit.
        """
        # An error in a generator that tf.data runs would come out as TensorFlow's own, with a
        # traceback in its text: it is taken aside and raised here.
        failures: list[KgraftError] = []
        yield from self._batches(number, failures)
        if failures:
            raise failures[0]

    def _batches(self, number: int, failures: list[KgraftError]) -> tf.data.Dataset:
        seed = np.random.default_rng([self.seed, AUGMENT, number]).integers(2**31)
        order = self._order(number)
        if self.held is not None:
            batches = self._held_batches(self.held, order)
        else:
            batches = self._read_batches(order, seed, failures)
        if self.augment == "crop_flip":
            batches = batches.enumerate().map(
                lambda step, batch: (self._crop_flip(batch[0], seed, step), batch[1]),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        return batches.prefetch(4)

    def _order(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, ORDER, number])
        streamed = self.held is None and self.source.name.startswith("tfds:")
        chunk = CHUNK if streamed else 1
        chunks = rng.permutation(-(-len(self.labels) // chunk))
        order = (chunks[:, None] * chunk + np.arange(chunk)).reshape(-1)
        order = order[order < len(self.labels)]
        for start in range(0, len(order) if streamed else 0, POOL):
            rng.shuffle(order[start : start + POOL])
        return order[: self.steps * self.batch]

    def _held_batches(self, held: np.ndarray, order: np.ndarray) -> tf.data.Dataset:
        def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for rows in order.reshape(self.steps, self.batch):
                yield held[rows], self.labels[rows]

        images = tf.TensorSpec((self.batch, *self.shape), tf.uint8)
        labels = tf.TensorSpec((self.batch,), tf.int64)
        return tf.data.Dataset.from_generator(batches, output_signature=(images, labels))

    def _read_batches(
        self, order: np.ndarray, seed: int, failures: list[KgraftError]
    ) -> tf.data.Dataset:
        image = tf.TensorSpec((None, None, self.shape[-1]), tf.uint8)
        number = tf.TensorSpec((), tf.int64)
        data = tf.data.Dataset.from_generator(
            lambda: self._read(order, failures), output_signature=(image, number, number)
        )
        data = data.map(
            lambda image, label, position: (self._fit(image, seed, position), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return data.batch(self.batch, drop_remainder=True)

    def _read(
        self, order: np.ndarray, failures: list[KgraftError]
    ) -> Iterator[tuple[np.ndarray, int, int]]:
        # The crops of `imagenet` are cut from the images as they are.
        fit = (lambda image: image) if self.augment == "imagenet" else self._centre_view
        try:
            for start in range(0, len(order), POOL):
                pool = order[start : start + POOL]
                images = self.source.iterate(pool.tolist())
                for position, (image, _) in zip(pool, images, strict=True):
                    yield fit(image), self.labels[position], position
        except KgraftError as error:
            failures.append(error)

    def _centre_view(self, image: np.ndarray) -> np.ndarray:
        return fit_image(image, size=self.shape, resize=self.resize)

    def _fit(self, image: tf.Tensor, seed: int, position: tf.Tensor) -> tf.Tensor:
        if self.augment == "imagenet":
            image = resized_crop_flip(
                image, size=self.shape[:2], seed=tf.stack([tf.constant(seed, tf.int64), position])
            )
        return tf.ensure_shape(image, self.shape)

    def _crop_flip(self, images: tf.Tensor, seed: int, step: tf.Tensor) -> tf.Tensor:
        seeds = tf.stack([tf.constant(seed, tf.int64), step])
        return crop_flip(images, padding=self.crop_padding, seed=seeds)


def check_labelled(source: Source) -> np.ndarray:
    """Returns the labels of a source.

    Args:
        source: the training images.

    Returns:
        int64 `[images]`.

    Raises:
        KgraftError: the source has no labels.
    """
    if source.labels is None:
        raise KgraftError(
            f"{source.name} has no labels, which training a teacher needs: give one sub-folder a "
            f"class, an .npz file with labels, or a labelled TFDS set"
        )
    return source.labels


def check_labels(source: Source, *, classes: int) -> np.ndarray:
    """Returns the labels of a source, checked to be the numbers of logits.

    Args:
        source: labelled images.
        classes: number of logits of the model.

    Returns:
        int64 `[images]`.

    Raises:
        KgraftError: the source has no labels.
        KgraftError: a label is not the number of a logit.
    """
    labels = check_labelled(source)
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        raise KgraftError(
            f"{source.name} has labels {low}..{high}, but the model has {classes} logits, which "
            f"take labels 0..{classes - 1}"
        )
    return labels


def hold_images(
    source: Source, *, shape: tuple[int, int, int], resize: str, memory_mb: int
) -> np.ndarray | None:
    """Decodes all images into memory, if there is room.

    Args:
        source: the training images.
        shape: `(height, width, channels)` that the model takes.
        resize: `none` or `crop`.
        memory_mb: the room, in MiB.

    Returns:
        uint8 `[images, height, width, channels]`; None where they take more than `memory_mb`.

    Raises:
        KgraftError: an image does not fit the model, or cannot be decoded.
    """
    if len(source) * int(np.prod(shape)) > memory_mb * 2**20:
        return None
    held = np.empty((len(source), *shape), np.uint8)
    start = 0
    for images, _ in eval_batches(source, size=shape, resize=resize, batch=512, label_names=None):
        held[start : start + len(images)] = images
        start += len(images)
    return held
