"""Views: augmented images that depend on nothing but seed, image and view number."""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kgraft.data.aligned import aligned_empty
from kgraft.data.resize import Size, check_fits, fit_image, scale_image
from kgraft.data_config import AUGMENTATIONS
from kgraft.errors import KgraftError

_VIEWS = 2  # keeps this use of the seed apart from the draw's and the training's
_PADDING = 4
_AREA = (0.08, 1.0)
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))
_TRIES = 10


def make_views(
    images: Sequence[np.ndarray],
    *,
    augment: str,
    views: int,
    size: Size,
    seed: int,
    resize: str = "none",
    first_view: int = 0,
    name: str = "transfer image",
) -> np.ndarray:
    """Makes views of images.

    View `v` of image `i` depends on `(seed, i, v)` alone: more views or more images leave the ones
    there are as they are, and `first_view` continues a set of views with others.

    Args:
        images: uint8 `[height, width, channels]` each.
        augment: `none`: the centre view, once an image whatever `views` says; `crop_flip`: pad by
            4, random crop, random mirror; `imagenet`: random crop of 8 to 100 % of the area,
            scaled, random mirror.
        views: views per image.
        size: `(height, width, channels)` of the views.
        seed: of the views.
        resize: how an image is fitted to the size: `none` or `crop`.
        first_view: number of the first view.
        name: what to call an image in messages.

    Returns:
        uint8 `[images * views, height, width, channels]`: all views of image 0 first; a
        `aligned_empty`.

    Raises:
        KgraftError: the augmentation is unknown; an image does not fit.
    """
    if augment not in _AUGMENTERS:
        raise KgraftError(f"--augment must be one of {', '.join(AUGMENTATIONS)}; got {augment!r}")
    for index, image in enumerate(images):
        check_fits(image.shape, size=size, resize=resize, name=f"{name} {index}")
    count = 1 if augment == "none" else views
    out = aligned_empty((len(images), count, *size), np.uint8)

    def fill(index: int) -> None:
        numbers = range(first_view, first_view + count)
        generators = [np.random.default_rng([seed, _VIEWS, index, v]) for v in numbers]
        _AUGMENTERS[augment](images[index], size, resize, generators, out[index])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(len(images))):
            pass
    return out.reshape(-1, *size)


Generators = Sequence[np.random.Generator]


def _centre(
    image: np.ndarray, size: Size, resize: str, generators: Generators, out: np.ndarray
) -> None:
    out[:] = fit_image(image, size=size, resize=resize)


def _crop_flip(
    image: np.ndarray, size: Size, resize: str, generators: Generators, out: np.ndarray
) -> None:
    fitted = fit_image(image, size=size, resize=resize)
    padded = np.pad(fitted, ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0)))
    for view, generator in zip(out, generators, strict=True):
        top, left = generator.integers(0, 2 * _PADDING + 1, 2)
        view[:] = _mirrored(padded[top : top + size[0], left : left + size[1]], generator)


def _imagenet(
    image: np.ndarray, size: Size, resize: str, generators: Generators, out: np.ndarray
) -> None:
    for view, generator in zip(out, generators, strict=True):
        top, left, height, width = random_crop(image.shape[0], image.shape[1], generator)
        crop = image[top : top + height, left : left + width]
        view[:] = _mirrored(scale_image(crop, height=size[0], width=size[1]), generator)


_AUGMENTERS: dict[str, Callable[..., None]] = {
    "none": _centre,
    "crop_flip": _crop_flip,
    "imagenet": _imagenet,
}


def _mirrored(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return image[:, ::-1] if generator.random() < 0.5 else image


def random_crop(
    height: int, width: int, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws a rectangle of 8 to 100 % of an image's area and a ratio of 3/4 to 4/3.

    Args:
        height: of the image.
        width: of the image.
        generator: of the draw.

    Returns:
        `(top, left, height, width)` inside the image; the largest centred rectangle of an allowed
        ratio where none of 10 draws fits.
    """
    for _ in range(_TRIES):
        area = height * width * generator.uniform(*_AREA)
        ratio = math.exp(generator.uniform(*_LOG_RATIO))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(generator.integers(0, height - crop_height + 1))
            left = int(generator.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width = min(width, max(1, round(height * 4 / 3)))
    crop_height = min(height, max(1, round(width * 4 / 3)))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
