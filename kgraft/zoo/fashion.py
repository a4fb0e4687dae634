"""The small network behind the embedded Fashion-MNIST teacher."""

import keras
from keras import layers

WIDTHS = ((32, 32), (64, 64), (128, 128), (256,))


def fashion_vgg(classes: int, input_shape: tuple[int, int, int]) -> keras.Model:
    """Builds a plain chain of 3x3 conv - BatchNorm - ReLU stages, about 580,000 parameters.

    Max pooling after each stage but the last, which ends in global average pooling.

    Args:
        classes: number of logits.
        input_shape: `[height, width, channels]` of the pixels 0..255.

    Returns:
        A functional model, pixels `[batch, height, width, channels]` to logits `[batch, classes]`.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="normalize")(image)
    for stage, widths in enumerate(WIDTHS, start=1):
        for number, width in enumerate(widths, start=1):
            name = f"block{stage}_{{}}{number}"
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name.format("conv"))(x)
            x = layers.BatchNormalization(momentum=0.9, name=name.format("bn"))(x)
            x = layers.ReLU(name=name.format("relu"))(x)
        if stage < len(WIDTHS):
            x = layers.MaxPooling2D(name=f"block{stage}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="fashion_vgg")
