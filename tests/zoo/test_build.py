import keras
import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.zoo import BUILDERS, build


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def pixels(shape, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *shape)).astype("float32")


@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("fashion_vgg", 584_874),
        ("cifar_vgg16", 14_983_498),  # The paper's teacher.
        ("cifar_resnet20", 269_722),
        ("cifar_resnet32", 464_154),
        ("cifar_resnet44", 658_586),
        ("cifar_resnet56", 853_018),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
    ],
)
def test_has_the_published_number_of_parameters(name, trainable):
    assert count(build(name).trainable_variables) == trainable


def test_deepest_resnet_has_six_n_plus_two_layers():
    model = build("cifar_resnet110")
    weighted = [layer for layer in model.layers if layer.name.endswith(("_conv", "logits"))]
    assert len(weighted) == 110


@pytest.mark.parametrize("name", ["fashion_vgg", "cifar_vgg16", "cifar_resnet20"])
def test_maps_pixels_to_moderate_logits(name):
    model = build(name)
    logits = np.asarray(model(pixels(model.input_shape[1:], 8), training=True))
    assert logits.shape == (8, 10)
    assert 0.01 < np.std(logits) < 20


def test_paper_vgg_has_the_paper_layers():
    model = build("cifar_vgg16")
    convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [conv.filters for conv in convs] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert all(conv.use_bias for conv in convs)
    assert [layer.name for layer in model.layers[-4:]] == ["flatten", "fc1", "fc1_bn", "logits"]
    assert model.get_layer("fc1").activation is keras.activations.linear


def test_resnet_shortcut_takes_every_second_pixel_and_pads_with_zeros():
    layer = build("cifar_resnet20").get_layer("stage2_unit1_shortcut")
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 16)).astype("float32")
    y = np.asarray(layer(x))
    np.testing.assert_array_equal(y[..., 8:24], x[:, ::2, ::2])
    assert not y[..., :8].any() and not y[..., 24:].any()
    assert layer.trainable_variables == []


def test_takes_other_classes_and_sizes():
    model = build("fashion_vgg", classes=7, input_shape=(32, 40, 3))
    assert model(pixels((32, 40, 3))).shape == (2, 7)


def test_grey_images_can_be_given_to_colour_networks():
    assert build("cifar_resnet20", input_shape=(28, 28, 1))(pixels((28, 28, 1))).shape == (2, 10)


def test_seed_fixes_the_weights():
    first, again, other = (build("fashion_vgg", seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_round_trips_through_a_file(tmp_path):
    model = build("cifar_resnet20")
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    x = pixels((32, 32, 3))
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(again(x)))
    assert again.get_layer("stage2_unit1_shortcut").trainable is False


def test_unknown_name_lists_the_zoo():
    with pytest.raises(KgraftError, match="no network 'vgg' in the zoo; the zoo has fashion_vgg"):
        build("vgg")


def test_one_class_is_refused():
    with pytest.raises(KgraftError, match="at least 2 classes; got 1"):
        build("fashion_vgg", classes=1)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_too_small_images_are_refused(name):
    side = BUILDERS[name].smallest - 1
    with pytest.raises(KgraftError, match=f"at least {side + 1}x{side + 1} pixels; got {side}x"):
        build(name, input_shape=(side, side, 3))


@pytest.mark.parametrize("name", ["fashion_vgg", "cifar_vgg16", "cifar_resnet20", "resnet18"])
def test_smallest_images_work(name):
    side = BUILDERS[name].smallest
    model = build(name, classes=3, input_shape=(side, side, 3))
    assert np.isfinite(np.asarray(model(pixels((side, side, 3))))).all()
