"""BatchNorm folded away without a change of the output."""

import keras
import numpy as np
import pytest
from graph_cases import SHAPE, drawn_model, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl
from small_models import assert_close, conv, images, rounding, small_model, trained

from kgraft.graph import (
    clone_graph,
    fold_batch_norm,
    synchronize_statistics,
    trace_model,
    without_training_layers,
)
from kgraft.graph.normalization import batch_norm_scale_shift, fold_scale_shift


def own_graph(model):
    return clone_graph(trace_model(model), trainable=True)


def norms(graph):
    return [call.name for call in graph.calls if isinstance(call.op, kl.BatchNormalization)]


def followed_by_norm(layer, shape, **options):
    image = keras.Input(shape)
    norm = kl.BatchNormalization(name="norm", **options)
    return trained(keras.Model(image, norm(layer(image))))


LAYERS = {
    "convolution": (lambda: kl.Conv2D(5, 3, padding="same", name="layer"), (6, 7, 4)),
    "without bias": (lambda: kl.Conv2D(5, 3, use_bias=False, name="layer"), (6, 7, 4)),
    "grouped": (lambda: kl.Conv2D(6, 3, padding="same", groups=2, name="layer"), (6, 7, 4)),
    "one-dimensional": (lambda: kl.Conv1D(5, 3, name="layer"), (9, 4)),
    "dense": (lambda: kl.Dense(5, name="layer"), (4,)),
    "dense on maps": (lambda: kl.Dense(5, use_bias=False, name="layer"), (6, 7, 4)),
    "depthwise": (lambda: kl.DepthwiseConv2D(3, padding="same", name="layer"), (6, 7, 4)),
    "depthwise, two filters each": (
        lambda: kl.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="layer"),
        (6, 7, 4),
    ),
    "transposed": (lambda: kl.Conv2DTranspose(5, 3, strides=2, name="layer"), (6, 7, 4)),
}


@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
def test_folding_changes_the_output_by_rounding_only(layer, shape, scale, center):
    model = followed_by_norm(layer(), shape, scale=scale, center=center)
    x = images(3, shape)
    wanted = np.asarray(model(x, training=False))
    folded, stayed = fold_batch_norm(own_graph(model))
    assert (norms(folded), stayed) == ([], ())
    assert folded.output == "layer"
    assert_close(folded(x), wanted)
    np.testing.assert_array_equal(model(x, training=False), wanted)


def test_small_models_keep_their_output(small_teacher):
    x = images()
    folded, stayed = fold_batch_norm(own_graph(small_teacher))
    assert norms(folded) == [name for name, _ in stayed]
    assert_close(folded(x), np.asarray(small_teacher(x, training=False)))


def test_real_architectures_keep_their_output(application):
    x = images(2, application.input_shape[1:])
    folded, stayed = fold_batch_norm(own_graph(application))
    assert (norms(folded), stayed) == ([], ())
    tolerance = max(1e-4, 5 * rounding(lambda x: application(x, training=False), x))
    assert_close(folded(x), np.asarray(application(x, training=False)), tolerance)


@given(networks)
@settings(max_examples=6, deadline=None)
def test_drawn_networks_keep_their_output(pieces):
    model = drawn_model(pieces)
    x = images(3, SHAPE)
    folded, _ = fold_batch_norm(own_graph(model))
    assert_close(folded(x), np.asarray(model(x, training=False)))


@given(st.integers(0, 2**16), st.integers(1, 4), st.integers(1, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_scale_and_shift_fold_into_any_kernel(seed, features, channels, biased):
    rng = np.random.default_rng(seed)
    kernel, x = rng.normal(size=(features, channels)), rng.normal(size=(7, features))
    bias, scale, shift = (rng.normal(size=channels) for _ in range(3))
    folded, offset = fold_scale_shift(kernel, bias if biased else None, scale, shift)
    wanted = scale * (x @ kernel + (bias if biased else 0)) + shift
    np.testing.assert_allclose(x @ folded + offset, wanted, atol=1e-12)


def test_scale_and_shift_are_what_the_layer_does():
    layer = trace_model(small_model("batch_norm")).call("dense_norm").op
    x = np.random.default_rng(0).normal(size=(6, 12)).astype("float32")
    scale, shift = batch_norm_scale_shift(layer)
    np.testing.assert_allclose(x * scale + shift, layer(x, training=False), atol=1e-4)


def reasons(build):
    image = keras.Input((6, 6, 3))
    folded, stayed = fold_batch_norm(own_graph(trained(keras.Model(image, build(image)))))
    assert norms(folded) == [name for name, _ in stayed]
    return dict(stayed)


def norm(name="norm", **options):
    return kl.BatchNormalization(name=name, **options)


def test_norms_that_cannot_fold_say_why():
    assert reasons(norm()) == {"norm": "it follows the input, which is no convolution"}
    assert reasons(lambda x: norm()(kl.MaxPooling2D(name="pool")(x))) == {
        "norm": "it follows pool, which is no convolution"
    }
    assert reasons(lambda x: norm()(conv(x, 4, name="conv", activation="relu"))) == {
        "norm": "conv has an activation in between"
    }
    assert reasons(lambda x: norm(axis=1)(conv(x, 4, name="conv"))) == {
        "norm": "it does not normalise the last axis"
    }


def test_norms_whose_convolution_is_needed_without_them_say_why():
    def both(x):
        x = conv(x, 4, name="conv")
        return kl.Add()([x, norm()(x)])

    assert reasons(both) == {"norm": "conv is needed without it too"}


def test_norms_of_shared_layers_say_why():
    def shared_conv(x):
        layer = kl.Conv2D(3, 3, padding="same", name="conv")
        return norm("two")(layer(norm("one")(layer(x))))

    def shared_norm(x):
        layer = norm()
        x = layer(conv(x, 4, name="conv1"))
        return layer(conv(x, 4, name="conv2"))

    why = "its layer is shared"
    assert reasons(shared_conv) == {"one": why, "two": why}
    assert reasons(shared_norm) == {"norm": why, "norm#2": why}


def test_spared_calls_take_no_norm_in():
    model = followed_by_norm(kl.Conv2D(5, 1, use_bias=False, name="layer"), (6, 7, 4))
    folded, stayed = fold_batch_norm(own_graph(model), spare=["layer"])
    assert stayed == (("norm", "layer shall take none in"),)
    assert not folded.call("layer").op.use_bias
    x = images(3, (6, 7, 4))
    np.testing.assert_array_equal(folded(x), model(x, training=False))


def test_two_norms_in_a_row_fold_one_after_the_other():
    image = keras.Input((6, 6, 3))
    model = trained(keras.Model(image, norm("two")(norm("one")(conv(image, 4, name="conv")))))
    once, stayed = fold_batch_norm(own_graph(model))
    assert stayed == (("two", "it follows one, which is no convolution"),)
    twice, stayed = fold_batch_norm(once)
    assert stayed == ()
    x = images(3, (6, 6, 3))
    assert_close(twice(x), np.asarray(model(x, training=False)))


def test_a_derived_layer_takes_no_norm_in():
    class Standardized(kl.Conv2D):
        def convolution_op(self, inputs, kernel):
            return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))

    model = followed_by_norm(Standardized(4, 3, name="layer"), (6, 6, 3))
    graph = trace_model(model)
    folded, stayed = fold_batch_norm(graph)
    why = "layer is a Standardized, which may do anything with its kernel"
    assert stayed == (("norm", why),)
    x = images(3, (6, 6, 3))
    assert_close(folded(x), np.asarray(model(x, training=False)))


AUGMENTING = {
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.5},
    "RandomZoom": {"height_factor": 0.5},
    "RandomTranslation": {"height_factor": 0.5, "width_factor": 0.5},
    "RandomShear": {"x_factor": 0.5},
    "RandomPerspective": {"factor": 0.5},
    "RandomElasticTransform": {"factor": 1.0},
    "RandomErasing": {"factor": 1.0},
    "RandomGaussianBlur": {"factor": 1.0},
    "RandomContrast": {"factor": 0.5},
    "RandomBrightness": {"factor": 0.5},
    "RandomHue": {"factor": 0.5},
    "RandomSaturation": {"factor": 0.5},
    "RandomSharpness": {"factor": 0.5},
    "RandomColorJitter": {"brightness_factor": 0.5},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomGrayscale": {"factor": 1.0},
    "RandomInvert": {"factor": 1.0},
    "RandomPosterization": {"factor": 4},
    "RandAugment": {},
    "AugMix": {},
}


@pytest.mark.parametrize("name", AUGMENTING)
def test_augmentation_in_a_model_is_taken_out_and_does_nothing_at_inference(name):
    layer = getattr(kl, name)(**AUGMENTING[name])
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(layer(x, training=False), x)
    image = keras.Input((8, 8, 3))
    graph = without_training_layers(
        trace_model(keras.Model(image, conv(layer(image), 4, name="c")))
    )
    assert [call.name for call in graph.calls] == ["c"]


def test_training_layers_are_taken_out():
    image = keras.Input((6, 6, 3))
    x = kl.GaussianNoise(1.0, name="noise")(image)
    x = kl.SpatialDropout2D(0.5, name="maps")(conv(x, 4, name="conv"))
    x = kl.Identity(name="same")(kl.Flatten(name="flat")(x))
    graph = without_training_layers(trace_model(keras.Model(image, kl.Dropout(0.5)(x))))
    assert [call.name for call in graph.calls] == ["conv", "flat"]
    assert graph.output == "flat"


def test_statistics_are_synchronised_in_the_graph_alone():
    model = small_model("batch_norm")
    graph = own_graph(model)
    synchronize_statistics(graph)
    assert all(graph.call(name).op.synchronized for name in norms(graph))
    assert not model.get_layer("conv1_norm").synchronized
    np.testing.assert_array_equal(graph(images()), model(images(), training=False))
