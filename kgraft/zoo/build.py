"""`build`: an untrained network of the zoo, by name."""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np

from kgraft.errors import KgraftError
from kgraft.zoo.cifar import cifar_resnet, cifar_vgg16
from kgraft.zoo.fashion import fashion_vgg
from kgraft.zoo.imagenet import resnet


@dataclasses.dataclass(frozen=True)
class Builder:
    """How to build one network of the zoo.

    Attributes:
        make: `(classes, input_shape) -> keras.Model`, pixels 0..255 to logits.
        classes: number of logits unless said otherwise.
        input_shape: `[height, width, channels]` unless said otherwise.
        smallest: the least height and width that survive the network's strides.
    """

    make: Callable[[int, tuple[int, int, int]], keras.Model]
    classes: int
    input_shape: tuple[int, int, int]
    smallest: int


def _cifar_resnet(depth: int) -> Builder:
    return Builder(functools.partial(cifar_resnet, depth=depth), 10, (32, 32, 3), 4)


BUILDERS: dict[str, Builder] = {
    "fashion_vgg": Builder(fashion_vgg, 10, (28, 28, 1), 8),
    "cifar_vgg16": Builder(cifar_vgg16, 10, (32, 32, 3), 32),
    "cifar_resnet20": _cifar_resnet(20),
    "cifar_resnet32": _cifar_resnet(32),
    "cifar_resnet44": _cifar_resnet(44),
    "cifar_resnet56": _cifar_resnet(56),
    "cifar_resnet110": _cifar_resnet(110),
    "resnet18": Builder(functools.partial(resnet, units=(2, 2, 2, 2)), 1000, (224, 224, 3), 32),
    "resnet34": Builder(functools.partial(resnet, units=(3, 4, 6, 3)), 1000, (224, 224, 3), 32),
}


def find_builder(name: str) -> Builder:
    """Returns how a network of the zoo is built.

    Args:
        name: a key of `BUILDERS`.

    Raises:
        KgraftError: the name is not in the zoo.
    """
    if name not in BUILDERS:
        raise KgraftError(f"no network {name!r} in the zoo; the zoo has {', '.join(BUILDERS)}")
    return BUILDERS[name]


def build(
    name: str,
    *,
    classes: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> keras.Model:
    """Builds an untrained network of the zoo, pixels 0..255 to logits.

    Args:
        name: a key of `BUILDERS`, such as `cifar_resnet56`.
        classes: number of logits; None for the network's usual one.
        input_shape: `[height, width, channels]`; None for the network's usual one.
        seed: seed of the starting weights; the same seed gives the same weights.

    Returns:
        A functional Keras model.

    Raises:
        KgraftError: the name is not in the zoo.
        KgraftError: there are fewer than two classes.
        KgraftError: the images are too small for the network's strides.
    """
    builder = find_builder(name)
    classes = builder.classes if classes is None else classes
    shape = input_shape or builder.input_shape
    if classes < 2:
        raise KgraftError(f"zoo:{name} needs at least 2 classes; got {classes}")
    if min(shape[:2]) < builder.smallest:
        raise KgraftError(
            f"zoo:{name} needs images of at least {builder.smallest}x{builder.smallest} pixels; "
            f"got {shape[0]}x{shape[1]}"
        )
    model = builder.make(classes, shape)
    _initialise(model, seed)
    return model


def _initialise(model: keras.Model, seed: int) -> None:
    """Draws the kernels by He's rule (arXiv 1502.01852) from numpy, whatever Keras's own seed."""
    for number, layer in enumerate(model.layers):
        kernel = getattr(layer, "kernel", None)
        if kernel is None or not layer.trainable:
            continue
        rng = np.random.default_rng([seed, number])
        std = np.sqrt(2 / np.prod(kernel.shape[:-1]))
        kernel.assign(rng.normal(0, std, kernel.shape).astype("float32"))
