"""Networks for 32x32 images: the paper's VGG16 and the ResNets of 6n+2 layers."""

import keras
import numpy as np
from keras import layers

from kgraft.zoo.normalize import imagenet_normalization

VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def cifar_vgg16(classes: int, input_shape: tuple[int, int, int]) -> keras.Model:
    """Builds the VGG16 of the grafting paper: 14,983,498 trainable parameters at 10 classes.

    13 conv 3x3 + bias + ReLU in five max-pooled blocks, then Dense(512) - BatchNorm -
    Dense(classes) with no activation between (arXiv 2012.04915, section 4.1).

    Args:
        classes: number of logits.
        input_shape: `[height, width, channels]` of the pixels 0..255.

    Returns:
        A functional model, pixels `[batch, height, width, channels]` to logits `[batch, classes]`.
    """
    image = keras.Input(input_shape, name="image")
    x = imagenet_normalization(input_shape[-1])(image)
    for block, widths in enumerate(VGG16_WIDTHS, start=1):
        for number, width in enumerate(widths, start=1):
            x = layers.Conv2D(width, 3, padding="same", name=f"block{block}_conv{number}")(x)
            x = layers.ReLU(name=f"block{block}_relu{number}")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(512, name="fc1")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="fc1_bn")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="cifar_vgg16")


def cifar_resnet(classes: int, input_shape: tuple[int, int, int], *, depth: int) -> keras.Model:
    """Builds a CIFAR ResNet of 6n+2 layers with parameter-free shortcuts (He et al. 2016, 4.2).

    Where the width changes, the shortcut takes every second pixel and pads the new channels with
    zeros. It is written as a frozen 1x1 convolution, which every exporter knows.

    Args:
        classes: number of logits.
        input_shape: `[height, width, channels]` of the pixels 0..255.
        depth: 20, 32, 44, 56, 110, or any 6n+2.

    Returns:
        A functional model, pixels `[batch, height, width, channels]` to logits `[batch, classes]`.
    """
    image = keras.Input(input_shape, name="image")
    x = imagenet_normalization(input_shape[-1])(image)
    x = _conv_bn(x, 16, name="stem_{}")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, width in enumerate((16, 32, 64), start=1):
        for unit in range(1, (depth - 2) // 6 + 1):
            stride = 2 if stage > 1 and unit == 1 else 1
            x = _unit(x, width, stride=stride, name=f"stage{stage}_unit{unit}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    model = keras.Model(image, logits, name=f"cifar_resnet{depth}")
    freeze_shortcuts(model)
    return model


def _unit(x: keras.KerasTensor, width: int, *, stride: int, name: str) -> keras.KerasTensor:
    y = _conv_bn(x, width, stride=stride, name=name + "_1_{}")
    y = layers.ReLU(name=f"{name}_1_relu")(y)
    y = _conv_bn(y, width, name=name + "_2_{}")
    if stride > 1:
        x = layers.Conv2D(width, 1, strides=stride, use_bias=False, name=f"{name}_shortcut")(x)
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_out")(y)


def _conv_bn(x: keras.KerasTensor, width: int, *, stride: int = 1, name: str) -> keras.KerasTensor:
    if stride > 1:
        # Pads on both sides, so that the window centres are the pixels the shortcut takes.
        x = layers.ZeroPadding2D(1, name=name.format("pad"))(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(
        width, 3, strides=stride, padding=padding, use_bias=False, name=name.format("conv")
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name.format("bn"))(x)


def freeze_shortcuts(model: keras.Model) -> None:
    """Sets the `*_shortcut` kernels to "copy and pad with zeros", and freezes them.

    Args:
        model: a CIFAR ResNet as built; changed in place.
    """
    for layer in model.layers:
        if layer.name.endswith("_shortcut"):
            _, _, fan_in, width = layer.kernel.shape
            kernel = np.zeros(layer.kernel.shape, "float32")
            first = (width - fan_in) // 2
            kernel[0, 0, :, first : first + fan_in] = np.eye(fan_in)
            layer.set_weights([kernel])
            layer.trainable = False
