"""Image files to pixels, several at a time."""

import collections
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorflow as tf

from kgraft.data.source import CorruptImage
from kgraft.errors import one_line

_WORKERS = min(8, os.cpu_count() or 1)
_CHUNK = 16
_CHUNKS_AHEAD = 2 * _WORKERS
_TIFF = (b"II*\0", b"MM\0*")
_MORE_THAN_8_BITS = ("I", "F")

Attempt = tuple[np.ndarray | CorruptImage, int | None]


class _DecodeError(ValueError):
    """What Pillow says of a file that it cannot read, in whatever error it said so."""


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
    """Decodes one JPEG, PNG, BMP, WebP, TIFF or GIF (of several frames or pages the first).

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
        return _decode(data, channels)
    except OSError as error:
        return CorruptImage(f"cannot read {encoded.name}: {error.strerror or error}")
    except _DecodeError as error:
        return CorruptImage(f"cannot decode {encoded.name}: {error}")
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


def _decode(data: bytes, channels: int) -> np.ndarray:
    if data[:3] == b"GIF":
        # TensorFlow makes JPEG and PNG grey, but not this.
        image = tf.io.decode_gif(data)[0]
        return (image if channels == 3 else tf.image.rgb_to_grayscale(image)).numpy()
    if data[:2] == b"BM" or data[8:12] == b"WEBP" or data[:4] in _TIFF:
        return _decode_by_pillow(data, channels)
    return tf.io.decode_image(data, channels=channels, expand_animations=False).numpy()


def _decode_by_pillow(data: bytes, channels: int) -> np.ndarray:
    """Decodes what TensorFlow does not read, or without its colour table."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            wide = image.mode.split(";")[0] in _MORE_THAN_8_BITS
            pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # A damaged file raises most kinds of error.
        raise _DecodeError(one_line(error) or type(error).__name__) from error
    if wide:
        raise _DecodeError("it has more than 8 bits a pixel and channel")
    return pixels.reshape(*pixels.shape[:2], channels)


def _reason(error: tf.errors.OpError) -> str:
    text = (error.message or type(error).__name__).split("}}")[-1].split("[Op:")[0]
    return one_line(text) or "not an image of a kind that is read"
