"""The feature term: what is compared, that it begins at nothing, and that it is trained."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from kgraft.compress import stage as stages
from kgraft.compress import to_tf_keras
from kgraft.compress.features import Features, outputs_by_layer, with_outputs
from kgraft.compress.pruning import wrap_pruning
from kgraft.compress.quantizing import wrap_quantizing
from kgraft.compress_config import CompressConfig
from kgraft.grafting.losses import feature_mse

from .conftest import SHAPE

CUTS = ("relu1", "relu2", "relu3", "pool")
CONFIG = CompressConfig("prune")


def distances(model, features, images):
    """The term of each layer, mean over images."""
    *wanted, _ = features.reference(images, training=False)
    *made, _ = with_outputs(model, features.names)(images, training=False)
    return [float(np.mean(feature_mse(*pair))) for pair in zip(made, wanted, strict=True)]


def test_cuts_that_layers_read_are_compared(stage):
    features = Features.of(stage.student, to_tf_keras(stage.student), 2.0)
    assert (features.names, features.weight) == (CUTS, 2.0)
    told = features.reference(np.zeros((2, *SHAPE), "float32"))
    assert [tuple(t.shape) for t in told[2:]] == [(2, 4, 4, 16), (2, 16), (2, 5)]


def test_what_is_never_compared(stage):
    assert Features.of(stage.student, to_tf_keras(stage.student), 0.0) is None
    image = keras.Input((4,))
    alone = keras.Model(image, kl.Dense(3, name="logits")(kl.Rescaling(2.0, name="scale")(image)))
    assert Features.of(alone, to_tf_keras(alone), 1.0) is None


def test_activations_that_keras_2_lacks_are_compared_behind_them():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = kl.Conv2D(4, 3, activation="relu6", name="conv1")(image)
    x = kl.GlobalAveragePooling2D(name="pool")(kl.Conv2D(4, 3, name="conv2")(x))
    model = keras.Model(image, kl.Dense(3, name="logits")(x))
    features = Features.of(model, to_tf_keras(model), 1.0)
    images = np.random.default_rng(0).normal(0, 9, (4, 8, 8, 3)).astype("float32")
    told = [np.asarray(t) for t in features.reference(images)]
    assert told[0].min() == 0.0 and told[0].max() == 6.0


def test_neither_pixels_nor_chance_are_compared():
    image = keras.Input((8, 8, 3))
    norm = kl.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(size=(4, 8, 8, 3)))
    x = kl.Conv2D(4, 3, name="conv1")(kl.ZeroPadding2D(name="pad")(norm(image)))
    x = kl.Conv2D(4, 3, name="conv2")(kl.Dropout(0.5, name="drop")(x))
    model = keras.Model(image, kl.Dense(3, name="logits")(kl.Flatten(name="flat")(x)))
    assert Features.of(model, to_tf_keras(model), 1.0).names == ("conv1", "flat")


def test_a_layer_used_twice_is_not_taken_for_one_of_its_name():
    image = keras.Input((4,))
    twice = kl.Dense(4, name="d")
    x = twice(twice(kl.Dense(4, name="d_2")(image)))
    model = keras.Model(image, kl.Dense(3, name="logits")(x))
    assert Features.of(model, to_tf_keras(model), 1.0).names == ("d_2",)


def test_layers_used_twice_are_left_out():
    image = keras.Input((4,))
    twice = kl.Dense(4, name="twice")
    x = kl.ReLU(name="relu")(twice(twice(image)))
    model = keras.Model(image, kl.Dense(3, name="logits")(x))
    assert "twice" not in outputs_by_layer(to_tf_keras(model))
    assert Features.of(model, to_tf_keras(model), 1.0).names == ("relu",)


def test_each_use_of_an_activation_is_compared():
    image, relu = keras.Input((8, 8, 3)), kl.ReLU(name="relu")
    x = relu(kl.Conv2D(4, 3, name="conv2")(relu(kl.Conv2D(4, 3, name="conv1")(image))))
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, kl.Dense(3, name="logits")(x))
    names = ("relu", "relu_2", "pool")
    assert Features.of(model, to_tf_keras(model), 1.0).names == names
    wrapped = wrap_quantizing(to_tf_keras(model), CONFIG, ()).model
    assert Features.of(model, wrapped, 1.0).names == names


def test_wrapped_layers_say_at_first_what_the_student_says(stage):
    images = stage.heldout.views.astype("float32")
    pruned = wrap_pruning(to_tf_keras(stage.student), CONFIG, ()).model
    features = Features.of(stage.student, pruned, 1.0)
    assert features.names == CUTS
    assert max(distances(pruned, features, images)) < 1e-10
    quantized = wrap_quantizing(to_tf_keras(stage.student), CONFIG, ())
    quantized.begin(stage.bank, 0)
    features = Features.of(stage.student, quantized.model, 1.0)
    assert features.names == CUTS
    rounding = distances(quantized.model, features, images)
    assert 0 < max(rounding) < 0.01


@pytest.mark.parametrize("technique", ["prune", "cluster", "quantize"])
def test_training_holds_features(stage, technique, monkeypatch):
    images = stage.heldout.views.astype("float32")
    seen = {}
    original = stages.train_wrapped

    def spied(wrapped, *args, features, **training):
        found = original(wrapped, *args, features=features, **training)
        term = features or Features.of(stage.student, wrapped.model, 1.0)
        seen[features is None] = sum(distances(wrapped.model, term, images))
        return found

    monkeypatch.setattr(stages, "train_wrapped", spied)
    for weight in (0.0, 30.0):
        stage.run(technique, feature_weight=weight, select="last", compress_steps=40)
    assert seen[False] < 0.8 * seen[True]
