"""Small Keras models, one for each thing a real network may be made of."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
from keras import layers as kl

SHAPE = (12, 12, 3)
CLASSES = 5

Tensor = keras.KerasTensor


def images(count: int = 4, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Random inputs `[count, *shape]`, far from zero at the borders too."""
    return np.random.default_rng(seed).normal(0.5, 1.0, [count, *shape]).astype("float32")


def randomise(layers: Iterable[kl.Layer], run: Callable[[], object], seed: int = 0) -> None:
    """Gives layers what training would: biases, scales, statistics that fit and yet are not exact.

    BatchNorm statistics are those of a run, changed by some ten percent: nothing explodes or dies
    however deep the network, and no statistic has a value that would hide a mistake.

    Args:
        layers: layers without further layers inside.
        run: runs the network they are of on images, in training mode.
        seed: seed of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    layers = list(layers)
    norms = [layer for layer in layers if isinstance(layer, kl.BatchNormalization)]
    for layer in layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
        # What follows is a BatchNorm or, without any in the network, a ReLU that halves the energy.
        if not norms and getattr(layer, "kernel", None) is not None:
            layer.kernel.assign(layer.kernel * np.sqrt(2.0))
    for norm in norms:
        if norm.scale:
            norm.gamma.assign(rng.uniform(0.7, 1.3, norm.gamma.shape))
        if norm.center:
            norm.beta.assign(rng.normal(0, 0.3, norm.beta.shape))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    run()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        spread = np.sqrt(np.asarray(norm.moving_variance))
        norm.moving_mean.assign_add(spread * rng.normal(0, 0.1, spread.shape))
        norm.moving_variance.assign(np.square(spread) * rng.uniform(0.8, 1.25, spread.shape) + 1e-4)


def trained(model: keras.Model, seed: int = 0) -> keras.Model:
    """Makes a model look trained; see `randomise`."""
    batch = images(8, model.input_shape[1:], seed)
    leaves = model._flatten_layers(include_self=False, recursive=True)
    randomise(leaves, lambda: model(batch, training=True), seed)
    return model


def assert_close(got: object, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    """Checks that two outputs differ by rounding only, and by far less than examples do."""
    got = np.asarray(got)
    assert got.shape == wanted.shape
    scale = np.abs(wanted).max()
    assert wanted.std(axis=0).mean() > 20 * tolerance * scale, "the examples are too alike"
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * scale)


def rounding(run: Callable[[np.ndarray], object], x: np.ndarray, seed: int = 0) -> float:
    """How far outputs move, over the largest, when numbers of the input move by their last bit.

    Deep networks multiply what rounding does to them: two right orders of adding up differ by more.
    """
    way = np.random.default_rng(seed).choice([-np.inf, np.inf], x.shape)
    moved, wanted = np.asarray(run(np.nextafter(x, way.astype(x.dtype)))), np.asarray(run(x))
    return float(np.abs(moved - wanted).max() / np.abs(wanted).max())


def state(*variables: object) -> list[np.ndarray]:
    """Copies of the values of variables."""
    return [np.array(variable) for variable in variables]


def conv(x: Tensor, width: int, size: int = 3, *, name: str, **options: object) -> Tensor:
    return kl.Conv2D(width, size, padding="same", name=name, **options)(x)


def conv_norm_relu(x: Tensor, width: int, *, name: str, strides: int = 1) -> Tensor:
    x = conv(x, width, name=name, strides=strides, use_bias=False)
    x = kl.BatchNormalization(name=f"{name}_norm")(x)
    return kl.ReLU(name=f"{name}_relu")(x)


def _head(x: Tensor) -> Tensor:
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return kl.Dense(CLASSES, name="logits")(x)


def plain(image: Tensor) -> Tensor:
    """Convolutions with bias and ReLU inside, pooling, dropout before the head."""
    x = conv(image, 8, name="conv1", activation="relu")
    x = kl.MaxPooling2D(name="down")(x)
    x = conv(x, 12, name="conv2", activation="relu")
    x = conv(x, 10, name="conv3", activation="relu")
    x = kl.Dropout(0.5, name="drop")(x)
    return _head(x)


def residual(image: Tensor) -> Tensor:
    """Residual blocks with an identity and with a projection shortcut of stride 2."""
    x = conv_norm_relu(image, 8, name="stem")
    for index, (width, strides) in enumerate([(8, 1), (12, 2), (12, 1)]):
        y = conv_norm_relu(x, width, name=f"res{index}_a", strides=strides)
        y = conv(y, width, name=f"res{index}_b")
        y = kl.BatchNormalization(name=f"res{index}_b_norm")(y)
        if strides > 1:
            x = conv(x, width, 1, name=f"res{index}_project", strides=strides)
            x = kl.BatchNormalization(name=f"res{index}_project_norm")(x)
        x = kl.Add(name=f"res{index}_add")([x, y])
        x = kl.ReLU(name=f"res{index}_out")(x)
    return _head(x)


def batch_norm(image: Tensor) -> Tensor:
    """BatchNorm behind convolutions and behind a dense layer, without scale or centre too."""
    x = conv_norm_relu(image, 8, name="conv1")
    x = conv(x, 12, name="conv2", strides=2)
    x = kl.BatchNormalization(scale=False, name="conv2_norm")(x)
    x = kl.Activation("relu", name="conv2_relu")(x)
    x = kl.GlobalMaxPooling2D(name="pool")(x)
    x = kl.Dense(12, name="dense")(x)
    x = kl.BatchNormalization(center=False, name="dense_norm")(x)
    x = kl.ReLU(name="dense_relu")(x)
    return kl.Dense(CLASSES, name="logits")(x)


def depthwise(image: Tensor) -> Tensor:
    """Inverted residuals: expand, filter each channel alone, project without activation."""
    x = kl.ZeroPadding2D(((0, 1), (0, 1)), name="stem_pad")(image)
    x = kl.Conv2D(8, 3, strides=2, use_bias=False, name="stem")(x)
    x = kl.BatchNormalization(name="stem_norm")(x)
    x = kl.ReLU(6.0, name="stem_relu")(x)
    for index, strides in enumerate([1, 1, 2]):
        y = conv(x, 16, 1, name=f"inv{index}_expand", use_bias=False)
        y = kl.BatchNormalization(name=f"inv{index}_expand_norm")(y)
        y = kl.ReLU(6.0, name=f"inv{index}_expand_relu")(y)
        y = kl.DepthwiseConv2D(
            3, strides=strides, padding="same", use_bias=False, name=f"inv{index}_filter"
        )(y)
        y = kl.BatchNormalization(name=f"inv{index}_filter_norm")(y)
        y = kl.ReLU(6.0, name=f"inv{index}_filter_relu")(y)
        y = conv(y, 8, 1, name=f"inv{index}_project", use_bias=False)
        y = kl.BatchNormalization(name=f"inv{index}_project_norm")(y)
        x = kl.Add(name=f"inv{index}_add")([x, y]) if strides == 1 else y
    return _head(x)


def nested(image: Tensor) -> Tensor:
    """Two nested models whose layers have the same names, one of them frozen, and a Sequential."""
    x = image
    for index, width in enumerate((8, 12)):
        inside = keras.Input((None, None, x.shape[-1]))
        y = conv_norm_relu(inside, width, name="conv1")
        y = conv(y, width, name="conv2", activation="relu")
        stage = keras.Model(inside, y, name=f"stage{index}")
        x = stage(x, training=False) if index else stage(x)
        x = kl.AveragePooling2D(2, name=f"down{index}")(x)
    head = [
        kl.Flatten(name="flat"),
        kl.Dense(8, "relu", name="dense"),
        kl.Dense(CLASSES, name="out"),
    ]
    return keras.Sequential(head, name="head")(x)


def shared(image: Tensor) -> Tensor:
    """A convolution used twice, and a nested model used twice."""
    x = conv(image, 8, name="stem", activation="relu")
    twice = kl.Conv2D(8, 3, padding="same", activation="relu", name="twice")
    x = kl.MaxPooling2D(name="down")(twice(x))
    x = twice(x)
    inside = keras.Input((None, None, 8))
    cell = keras.Model(inside, conv_norm_relu(inside, 8, name="conv1"), name="cell")
    x = cell(cell(x))
    x = conv(x, 12, name="last", activation="relu")
    return _head(x)


def squeeze_excite(image: Tensor) -> Tensor:
    """Channels weighed by a gate of their own means."""
    x = conv_norm_relu(image, 8, name="conv1")
    for index in range(2):
        gate = kl.GlobalAveragePooling2D(name=f"gate{index}_pool")(x)
        gate = kl.Reshape((1, 1, 8), name=f"gate{index}_reshape")(gate)
        gate = conv(gate, 4, 1, name=f"gate{index}_reduce", activation="swish")
        gate = conv(gate, 8, 1, name=f"gate{index}_expand", activation="sigmoid")
        x = kl.Multiply(name=f"gate{index}_weigh")([x, gate])
        x = conv(x, 8, name=f"gate{index}_conv")
        x = kl.Activation("swish", name=f"gate{index}_swish")(x)
    return _head(x)


def concatenation(image: Tensor) -> Tensor:
    """Dense connections: BatchNorm first, new channels in a row with the old."""
    x = conv(image, 8, name="stem")
    for index in range(2):
        y = kl.BatchNormalization(name=f"grow{index}_norm")(x)
        y = kl.ReLU(name=f"grow{index}_relu")(y)
        y = conv(y, 6, name=f"grow{index}_conv")
        x = kl.Concatenate(name=f"grow{index}_concat")([x, y])
    x = conv(x, 10, 1, name="mix", activation="relu")
    return _head(x)


def flatten(image: Tensor) -> Tensor:
    """A head that flattens, as VGG's does."""
    x = conv(image, 8, name="conv1", strides=2, activation="relu")
    x = conv(x, 12, name="conv2", activation="relu")
    x = kl.MaxPooling2D(name="down")(x)
    x = kl.Flatten(name="flat")(x)
    x = kl.Dense(16, name="dense", activation="relu")(x)
    return kl.Dense(CLASSES, name="logits")(x)


def operators(image: Tensor) -> Tensor:
    """Operators and `keras.ops` on tensors instead of layers."""
    x = conv(image / 2.0 - 0.25, 8, name="conv1")
    x = keras.ops.relu(x)
    y = conv(x, 8, name="conv2")
    x = keras.ops.relu(x + y) * 0.5
    x = conv(x, 10, name="conv3", activation="relu")
    return _head(x)


def locked(image: Tensor) -> Tensor:
    """Layers whose channels the recipes cannot thin: groups, normalisation over channels."""
    x = conv(image, 8, name="conv1", activation="relu")
    x = conv(x, 8, name="grouped", groups=2, activation="relu")
    x = kl.LayerNormalization(name="over_channels")(x)
    x = conv(x, 12, name="conv2", activation="relu")
    return _head(x)


FACTORIES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": plain,
    "residual": residual,
    "batch_norm": batch_norm,
    "depthwise": depthwise,
    "nested": nested,
    "shared": shared,
    "squeeze_excite": squeeze_excite,
    "concatenation": concatenation,
    "flatten": flatten,
    "operators": operators,
    "locked": locked,
}


def small_model(name: str, seed: int = 0) -> keras.Model:
    """Builds one of `FACTORIES`: 12x12x3 images to 5 logits, as if trained."""
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE)
    return trained(keras.Model(image, FACTORIES[name](image), name=name), seed)


def application_model(name: str, size: int, classes: int = 10) -> keras.Model:
    """Builds a `keras.applications` network with random weights, as if trained."""
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    model = make(
        weights=None,
        input_shape=(size, size, 3),
        classes=classes,
        classifier_activation=None,
    )
    return trained(model)


def plain_units(count: int) -> keras.Model:
    """A stem and equal convolutions behind it, which end in no addition."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = conv(image, 6, name="stem", activation="relu")
    for unit in range(count):
        x = conv(x, 6, name=f"conv{unit}", activation="relu")
    return trained(keras.Model(image, _head(x)))


def conv_classifier(pool_first: bool) -> keras.Model:
    """A teacher whose classifier is a convolution, behind pooling or in front of it."""
    image = keras.Input(SHAPE)
    x = conv(conv(image, 6, name="stem", activation="relu"), 8, name="a", activation="relu")
    if pool_first:
        x = kl.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = kl.Conv2D(CLASSES, 1, bias_initializer="normal", name="classes")(x)
    if pool_first:
        return trained(keras.Model(image, kl.Reshape([CLASSES])(x)))
    return trained(keras.Model(image, kl.GlobalAveragePooling2D(name="pool")(x)))


def ends_with(*layers: keras.layers.Layer) -> keras.Model:
    """A small network with the given layers behind its pooled features."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = kl.GlobalAveragePooling2D(name="pool")(conv(image, 8, name="conv1", activation="relu"))
    for layer in layers:
        x = layer(x)
    return trained(keras.Model(image, x))
