"""Pixels 0..255 to what a teacher was trained on; the modes of `keras.applications`."""

import dataclasses
from typing import TypeVar

import numpy as np
import tensorflow as tf

from kgraft.errors import KgraftError

Images = TypeVar("Images", np.ndarray, tf.Tensor)


_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
_IMAGENET_BGR_MEAN = np.array([103.939, 116.779, 123.68], np.float32)


def _none(x: Images) -> Images:
    return x


def _unit(x: Images) -> Images:
    return x / 255.0


def _tf(x: Images) -> Images:
    return x / 127.5 - 1.0


def _torch(x: Images) -> Images:
    return (x / 255.0 - _IMAGENET_MEAN) / _IMAGENET_STD


def _caffe(x: Images) -> Images:
    return x[..., ::-1] - _IMAGENET_BGR_MEAN


PREPROCESSORS = {"none": _none, "unit": _unit, "tf": _tf, "torch": _torch, "caffe": _caffe}


@dataclasses.dataclass(frozen=True)
class Normalization:
    """A preprocessing as arithmetic: `(pixels - mean) / std`, channel by channel.

    Attributes:
        mean: what is taken off, one number a channel or one for all.
        std: what the rest is divided by, likewise.
        reversed_channels: whether the channels are turned round first, RGB to BGR.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reversed_channels: bool = False


_NORMALIZATIONS = {
    "none": Normalization((0.0,), (1.0,)),
    "unit": Normalization((0.0,), (255.0,)),
    "tf": Normalization((127.5,), (127.5,)),
    "torch": Normalization(
        tuple((255 * _IMAGENET_MEAN).tolist()), tuple((255 * _IMAGENET_STD).tolist())
    ),
    "caffe": Normalization(tuple(_IMAGENET_BGR_MEAN.tolist()), (1.0,), reversed_channels=True),
}
_RGB_ONLY = ("torch", "caffe")


def normalization(name: str) -> Normalization:
    """Returns the arithmetic of a preprocessing, for whoever does it outside Python.

    Args:
        name: as for `preprocess`.
    """
    return _NORMALIZATIONS[name]


def preprocess(images: Images, name: str) -> Images:
    """Turns pixels into a teacher's input.

    Args:
        images: pixels 0..255 of any number type, `[..., height, width, channels]`; a NumPy array,
            or a tensor, also inside a `tf.function`.
        name: `none`: pixels as they are; `unit`: 0..1; `tf`: -1..1; `torch`: ImageNet mean and
            standard deviation; `caffe`: BGR minus ImageNet means.

    Returns:
        float32 of the same shape, an array for an array and a tensor for a tensor.

    Raises:
        KgraftError: the name is unknown; `torch` or `caffe` is asked of images that are not RGB.
    """
    if name not in PREPROCESSORS:
        raise KgraftError(f"preprocess must be one of {', '.join(PREPROCESSORS)}; got {name!r}")
    if name in _RGB_ONLY and images.shape[-1] != 3:
        raise KgraftError(
            f"preprocess {name!r} expects RGB images, 3 channels; got {images.shape[-1]}: use "
            f"none, unit or tf"
        )
    if isinstance(images, np.ndarray):
        return PREPROCESSORS[name](images.astype(np.float32))
    return PREPROCESSORS[name](tf.cast(images, tf.float32))
