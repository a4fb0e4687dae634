"""Pixel normalisation as a layer, so that a zoo model takes pixels 0..255 as they are."""

from keras import layers

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalization(channels: int) -> layers.Rescaling:
    """Returns a layer that maps pixels 0..255 to about zero mean and unit variance.

    Args:
        channels: 3 takes ImageNet's means and deviations per channel; other counts 0.5 and 0.25.

    Returns:
        A `Rescaling` layer named `normalize`.
    """
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.25,))
    scale = [1 / (255 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    if len(scale) == 1:
        return layers.Rescaling(scale[0], offset[0], name="normalize")
    return layers.Rescaling(scale, offset, name="normalize")
