"""Fits an image to the size a model takes."""

import numpy as np
import tensorflow as tf

from kgraft.data.source import Source
from kgraft.errors import KgraftError

Size = tuple[int, int, int]

# The usual margin of ImageNet evaluation: short side 256 for a crop of 224.
_CROP_SHARE = 0.875


def resolve_resize(source: Source, resize: str) -> str:
    """Returns what `auto` means for a source: `crop` where its images differ in size.

    Args:
        source: the images; a folder's always count as different.
        resize: `auto`, `none` or `crop`.

    Returns:
        `none` or `crop`.
    """
    if resize != "auto":
        return resize
    return "crop" if source.image_shape is None else "none"


def check_fits(shape: tuple[int, ...], *, size: Size, resize: str, name: str) -> None:
    """Checks that images of a shape can be given to a model.

    Args:
        shape: `(height, width, channels)` of the image.
        size: `(height, width, channels)` the model takes.
        resize: `none` or `crop`.
        name: what to call the image in the message.

    Raises:
        KgraftError: the channels differ; the size differs and `resize` is `none`.
    """
    expected, got = (" x ".join(map(str, triple)) for triple in (size, shape))
    if len(shape) != 3 or shape[2] != size[2]:
        raise KgraftError(
            f"{name} is {got}, but the teacher takes {expected} (height x width x channels): give "
            f"images, or a teacher, of the same channels"
        )
    if resize == "none" and tuple(shape[:2]) != tuple(size[:2]):
        raise KgraftError(
            f"{name} is {got}, but the teacher takes {expected} (height x width x channels): give "
            f"--resize=crop to scale and crop the images"
        )


def fit_image(image: np.ndarray, *, size: Size, resize: str, name: str = "image") -> np.ndarray:
    """Returns the centre view of an image.

    Args:
        image: uint8 `[height, width, channels]`.
        size: `(height, width, channels)` wanted.
        resize: `none` takes the image as it is; `crop` scales it until it covers the size with the
            usual margin of 1/0.875 and crops the centre. An image of the right size is not
            touched.
        name: what to call the image in the message.

    Returns:
        uint8 of shape `size`.

    Raises:
        KgraftError: the image does not fit, as in `check_fits`.
    """
    check_fits(image.shape, size=size, resize=resize, name=name)
    height, width = size[:2]
    if image.shape[:2] == (height, width):
        return image
    scale = max(height / image.shape[0], width / image.shape[1]) / _CROP_SHARE
    scaled = scale_image(
        image,
        height=max(height, round(image.shape[0] * scale)),
        width=max(width, round(image.shape[1] * scale)),
    )
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[top : top + height, left : left + width]


def scale_image(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Scales an image, bilinear and antialiased.

    Args:
        image: uint8 `[height, width, channels]`.
        height: new height.
        width: new width.

    Returns:
        uint8 `[height, width, channels]`.
    """
    if image.shape[:2] == (height, width):
        return image
    # On the host, where the pixels are: antialiasing has no kernel for GPUs, and threads that scale
    # with a GPU as their device were seen to fail.
    with tf.device("CPU:0"):
        scaled = tf.image.resize(image, (height, width), antialias=True).numpy()
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
