"""ResNet18 and ResNet34 for 224x224 images, which keras.applications does not have."""

import keras
from keras import layers

from kgraft.zoo.normalize import imagenet_normalization


def resnet(
    classes: int, input_shape: tuple[int, int, int], *, units: tuple[int, ...]
) -> keras.Model:
    """Builds a ResNet of basic units with 1x1 projection shortcuts (He et al. 2016, table 1).

    Args:
        classes: number of logits.
        input_shape: `[height, width, channels]` of the pixels 0..255.
        units: residual units in each stage: (2, 2, 2, 2) is ResNet18, (3, 4, 6, 3) ResNet34.

    Returns:
        A functional model, pixels `[batch, height, width, channels]` to logits `[batch, classes]`.
    """
    image = keras.Input(input_shape, name="image")
    x = imagenet_normalization(input_shape[-1])(image)
    x = _conv_bn(x, 64, size=7, stride=2, name="stem_{}")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    for stage, count in enumerate(units, start=1):
        for unit in range(1, count + 1):
            stride = 2 if stage > 1 and unit == 1 else 1
            x = _unit(x, 32 * 2**stage, stride=stride, name=f"stage{stage}_unit{unit}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=f"resnet{2 * sum(units) + 2}")


def _unit(x: keras.KerasTensor, width: int, *, stride: int, name: str) -> keras.KerasTensor:
    y = _conv_bn(x, width, stride=stride, name=name + "_1_{}")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = _conv_bn(y, width, name=name + "_2_{}")
    if stride > 1:
        x = _conv_bn(x, width, size=1, stride=stride, name=name + "_shortcut_{}")
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_out")(y)


def _conv_bn(
    x: keras.KerasTensor, width: int, *, size: int = 3, stride: int = 1, name: str
) -> keras.KerasTensor:
    if stride > 1 and size > 1:
        # The common checkpoints of these networks were trained with padding on both sides.
        x = layers.ZeroPadding2D(size // 2, name=name.format("pad"))(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(
        width, size, strides=stride, padding=padding, use_bias=False, name=name.format("conv")
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name.format("bn"))(x)
