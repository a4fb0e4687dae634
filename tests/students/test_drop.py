"""What a block's shapes need and nothing more."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import conv, images, small_model, trained
from student_cases import teacher_activations

from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.graph import split_chain, trace_model
from kgraft.students import Start, assign_recipes, make_student
from kgraft.students.drop_block import drop_block


def dropped(model, cuts, index, *, solve=True):
    chain = split_chain(trace_model(model), cuts)
    activations = teacher_activations(chain, 64) if solve else None
    return chain, drop_block(chain.blocks[index], activations=activations, seed=0)


def kinds(graph):
    return [type(call.op).__name__ for call in graph.calls]


def test_nothing_where_the_shapes_agree():
    chain, made = dropped(small_model("residual"), ("stem_relu", "res0_out"), 1)
    assert not made.body.calls
    x = images(2, (12, 12, 8))
    np.testing.assert_array_equal(made.body(x), x)
    student = make_student(
        chain,
        assign_recipes("1=drop", "keep", 3),
        Start("teacher", teacher_activations(chain), 0),
    )
    assert not any(call.name.startswith("res0") for call in fuse(student).graph.calls)


@pytest.mark.parametrize("solve", [True, False])
def test_a_pool_and_a_1x1_layer_with_the_blocks_last_activation(solve):
    _, made = dropped(small_model("residual"), ("res0_out", "res1_out"), 1, solve=solve)
    assert kinds(made.body) == ["AveragePooling2D", "Conv2D", "ReLU"]
    assert made.body.output_shape == (None, 6, 6, 12)
    assert made.train_statistics != solve
    # What is not solved begins as it was drawn: from zeros it could learn nothing.
    assert all(np.any(layer.kernel) for layer in made.body.layers if hasattr(layer, "kernel"))


def test_no_pool_where_only_the_width_differs():
    _, made = dropped(small_model("plain"), ("down", "conv2"), 1)
    assert kinds(made.body) == ["Conv2D", "Activation"]


def test_from_images_to_logits():
    chain, made = dropped(small_model("plain"), ("conv3",), 1)
    assert kinds(made.body) == ["GlobalAveragePooling2D", "Dense"]
    x = images(16, seed=3)
    wanted = np.asarray(chain.graph(x))
    got = np.asarray(made.body(chain.blocks[0].graph(x)))
    np.testing.assert_allclose(got, wanted, atol=0.05 * np.abs(wanted).max())


def test_a_block_that_is_1x1_comes_back():
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = conv(image, 5, 1, name="only", activation="relu")
    chain, made = dropped(trained(keras.Model(image, x)), (), 0)
    x = images(8, (6, 6, 3))
    np.testing.assert_allclose(made.body(x), chain.graph(x), atol=0.1)


def test_a_size_that_no_pool_makes():
    image = keras.Input((7, 7, 3))
    model = trained(keras.Model(image, kl.Conv2D(4, 3, name="valid")(image)))
    with pytest.raises(KgraftError) as error:
        dropped(model, (), 0)
    assert str(error.value) == (
        "--student: drop cannot make (None, 5, 5, 4) of (None, 7, 7, 3) in block0 "
        "(input to valid): pooling makes a whole fraction of a size; give the block "
        "another recipe, such as 0=width:0.5 or 0=keep in --graft"
    )


@pytest.mark.parametrize("solve", [True, False])
def test_a_map_that_grows(solve):
    image = keras.Input((6, 6, 3))
    x = conv(kl.UpSampling2D(name="up")(image), 4, name="conv")
    with pytest.raises(KgraftError, match=r"drop cannot make \(None, 12, 12, 4\) of"):
        dropped(trained(keras.Model(image, x)), (), 0, solve=solve)


def test_tokens_that_would_have_to_be_pooled():
    image = keras.Input((4, 4, 3))
    tokens = kl.Reshape((16, 3), name="tokens")(image)
    model = trained(keras.Model(image, kl.Conv1D(4, 4, strides=4, name="fewer")(tokens)))
    with pytest.raises(KgraftError, match=r"drop cannot make \(None, 4, 4\) of \(None, 16, 3\)"):
        dropped(model, ("tokens",), 1)


@pytest.mark.parametrize(("activation", "stays"), [("relu", True), ("sigmoid", False)])
def test_an_activation_in_front_of_a_pool_is_made_once(activation, stays):
    """Behind it the layer is fitted to what has been through it, which a ReLU leaves alone."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = kl.Activation(activation)(conv(image, 5, 1, name="only"))
    model = trained(keras.Model(image, kl.MaxPooling2D(2)(x)))
    chain, made = dropped(model, (), 0)
    assert ("Activation" in kinds(made.body)) is stays
    x = images(64, (6, 6, 3), seed=4)
    wanted = np.asarray(chain.graph(x))
    error = np.square(np.asarray(made.body(x)) - wanted).mean()
    assert error < 0.6 * np.square(wanted - wanted.mean(axis=0)).mean()


def test_what_no_view_says_is_zero():
    """Ten views of maps with a hundred channels: ninety directions no view has anything in."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 3))
    x = kl.ReLU(name="cut")(conv(image, 100, name="wide"))
    x = kl.Dense(5, name="logits")(kl.GlobalAveragePooling2D()(kl.ReLU()(conv(x, 8, name="c"))))
    chain = split_chain(trace_model(trained(keras.Model(image, x))), ("cut",))
    activations = teacher_activations(chain, 10)
    made = [drop_block(chain.blocks[1], activations=activations, seed=seed) for seed in (0, 1)]
    one, two = (np.asarray(m.body.layers[-1].kernel) for m in made)
    np.testing.assert_array_equal(one, two)
    pooled = activations(1, 10).mean(axis=(1, 2))
    unseen = np.linalg.svd(pooled)[2][10:]
    np.testing.assert_allclose(unseen @ one, 0, atol=1e-4 * np.abs(one).max())
