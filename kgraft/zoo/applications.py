"""Trained networks of keras.applications, by name."""

import inspect
import types
from collections.abc import Callable

import keras

from kgraft.errors import KgraftError

# What each family expects, by the module it lives in: `keras.applications.imagenet_utils` modes.
# Families that are not named here scale the pixels themselves.
PREPROCESS = {
    "densenet": "torch",
    "inception_resnet_v2": "tf",
    "inception_v3": "tf",
    "mobilenet": "tf",
    "mobilenet_v2": "tf",
    "nasnet": "tf",
    "resnet": "caffe",
    "resnet_v2": "tf",
    "vgg16": "caffe",
    "vgg19": "caffe",
    "xception": "tf",
}


def find_application(name: str) -> Callable[..., keras.Model]:
    """Returns the builder of a network of keras.applications.

    Args:
        name: such as `MobileNetV2`; case, `_` and `-` do not matter.

    Raises:
        KgraftError: keras.applications has no network of that name.
    """
    builders = {
        _plain(key): value
        for key, value in vars(keras.applications).items()
        if inspect.isfunction(value) and not isinstance(value, types.ModuleType)
    }
    if _plain(name) not in builders:
        known = ", ".join(sorted(builder.__name__ for builder in builders.values()))
        raise KgraftError(f"keras.applications has no network {name!r}; it has {known}")
    return builders[_plain(name)]


def load_application(
    name: str, *, classes: int | None = None, pretrained: bool = True
) -> tuple[keras.Model, str]:
    """Loads a network of keras.applications with its logits, before any softmax.

    Args:
        name: such as `MobileNetV2`.
        classes: number of logits; None for ImageNet's 1,000.
        pretrained: whether to take the ImageNet weights, downloaded by Keras on first use.

    Returns:
        The model, and the name of the preprocessing it expects.

    Raises:
        KgraftError: there is no such network.
        KgraftError: other than 1,000 classes are asked of pretrained weights.
        KgraftError: the weights cannot be downloaded.
    """
    builder = find_application(name)
    if pretrained and classes not in (None, 1000):
        raise KgraftError(
            f"applications:{name} is trained on ImageNet's 1000 classes; got classes={classes}"
        )
    weights = "imagenet" if pretrained else None
    try:
        model = builder(weights=weights, classes=classes or 1000, classifier_activation=None)
    except Exception as error:
        if not pretrained or not _is_download_error(error):
            raise
        raise KgraftError(
            f"cannot download the ImageNet weights of applications:{name} to ~/.keras: connect to "
            f"the network once, or give a file with --teacher=PATH.keras ({error})"
        ) from error
    return model, PREPROCESS.get(builder.__module__.rsplit(".", 1)[-1], "none")


def _is_download_error(error: Exception) -> bool:
    """Keras raises a bare `Exception` for a failed download, and OSError for a broken one."""
    return isinstance(error, OSError) or "fetch failure" in str(error)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
