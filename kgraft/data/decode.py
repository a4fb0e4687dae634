"""Image files to pixels, several at a time."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kgraft.data.source import CorruptImage

_WORKERS = min(8, os.cpu_count() or 1)
_CHUNK = 16
_CHUNKS_AHEAD = 2 * _WORKERS

Attempt = tuple[np.ndarray | CorruptImage, int | None]


class Encoded(NamedTuple):
    """An image that is not decoded yet.

    Attributes:
        name: what to call it in messages.
        load: returns the bytes of the file; called in a worker thread.
        label: its class, or None.
    """

    name: str
    load: Callable[[], bytes]
    label: int | None


def decode_image(encoded: Encoded, *, channels: int) -> np.ndarray | CorruptImage:
    """Decodes one JPEG, PNG, BMP or GIF (its first frame).

    Args:
        encoded: the image.
        channels: 1 for grey, 3 for RGB; files of the other kind are converted.

    Returns:
        uint8 `[height, width, channels]`, or a `CorruptImage` for the caller to raise or to count.
    """
    try:
        data = encoded.load()
        if not data:
            return CorruptImage(f"cannot decode {encoded.name}: the file is empty")
        return _decode(data, channels).numpy()
    except OSError as error:
        return CorruptImage(f"cannot read {encoded.name}: {error.strerror or error}")
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        return CorruptImage(f"cannot decode {encoded.name}: {_reason(error)}")


def decode_all(images: Iterable[Encoded], *, channels: int) -> Iterator[Attempt]:
    """Decodes images in threads, some ahead, and yields them in order.

    Args:
        images: the images.
        channels: 1 for grey, 3 for RGB.

    Yields:
        `(image or CorruptImage, label)`.
    """

    def decode_chunk(chunk: tuple[Encoded, ...]) -> list[Attempt]:
        return [(decode_image(image, channels=channels), image.label) for image in chunk]

    waiting: collections.deque[Future[list[Attempt]]] = collections.deque()
    images = iter(images)
    with ThreadPoolExecutor(_WORKERS) as pool:
        while chunk := tuple(itertools.islice(images, _CHUNK)):
            waiting.append(pool.submit(decode_chunk, chunk))
            if len(waiting) > _CHUNKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _decode(data: bytes, channels: int) -> tf.Tensor:
    # TensorFlow converts between grey and colour in JPEG and PNG, but not in these two.
    if data[:3] == b"GIF":
        return _converted(tf.io.decode_gif(data)[0], channels)
    if data[:2] == b"BM":
        return _converted(tf.io.decode_bmp(data)[..., :3], channels)
    return tf.io.decode_image(data, channels=channels, expand_animations=False)


def _converted(image: tf.Tensor, channels: int) -> tf.Tensor:
    if image.shape[-1] == channels:
        return image
    return tf.image.rgb_to_grayscale(image) if channels == 1 else tf.image.grayscale_to_rgb(image)


def _reason(error: tf.errors.OpError) -> str:
    text = (error.message or type(error).__name__).split("}}")[-1].split("[Op:")[0]
    return " ".join(text.split()) or "not a JPEG, PNG, BMP or GIF image"
