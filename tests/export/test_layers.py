import keras
import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.export import export_student, float32_bytes
from kgraft.export.bias_correction import corrected_students
from kgraft.export.layers import Layers

QUANTIZED = ("dynamic", "int8", "int16x8")


def exported(model, images, folder, *formats):
    files = export_student(model, folder=folder, formats=formats, calibration=images)
    return {file.format: open(file.path, "rb").read() for file in files}


# Of every model test_student.py asks the same through the verification.
@pytest.mark.parametrize("model", ["depthwise"], indirect=True)
def test_rounded_weights_are_explained(model, images, tmp_path):
    shape = images.shape[1:]
    corrected = corrected_students(model, QUANTIZED, images)
    made = exported(model, images, tmp_path, "float32", "float16", *QUANTIZED)
    for name, data in made.items():
        float32 = float32_bytes(corrected.get(name, model), shape)
        assert Layers(data, float32).wrong_weights() == ()


def test_noise_by_layer(student, images, tmp_path):
    float32 = float32_bytes(student)
    made = exported(student, images, tmp_path, "float32", *QUANTIZED)
    noise = {name: Layers(data, float32).noise(images[:4]) for name, data in made.items()}
    assert {layer.snr_db for layer in noise["float32"]} == {None}
    for name in ("int8", "int16x8"):
        found = [layer.snr_db for layer in noise[name]]
        assert found == sorted(found) and found[0] > 15
        assert {layer.op for layer in noise[name]} == {
            "CONV_2D",
            "MAX_POOL_2D",
            "RESHAPE",
            "FULLY_CONNECTED",
        }
    assert noise["int16x8"][0].snr_db > noise["int8"][0].snr_db
    assert min(layer.snr_db or 99 for layer in noise["dynamic"]) > 15


def test_noise_by_hand():
    """One layer, whose noise can be computed from outside."""
    image = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, name="only")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32)
    exact = keras.Model(image, x)(images).numpy()
    float32 = float32_bytes(model)
    weights = model.get_layer("only").kernel.numpy()
    scaled = keras.models.clone_model(model)
    scaled.get_layer("only").kernel.assign(1.1 * weights)
    layers = Layers(float32_bytes(scaled), float32)
    expected = 10 * np.log10(np.sum(exact**2) / np.sum((0.1 * exact) ** 2))
    by_op = {layer.op: layer.snr_db for layer in layers.noise(images)}
    assert by_op["CONV_2D"] == pytest.approx(expected, abs=1e-3) == pytest.approx(20, abs=1e-3)
    assert [wrong.off > 1 for wrong in layers.wrong_weights()] == [True]


def dense_only(units=3, *, activation=None):
    image = keras.Input((4, 4, 1))
    x = keras.layers.Dense(units, activation=activation)(keras.layers.Flatten()(image))
    return keras.Model(image, x)


def test_layers_without_a_partner_are_told():
    image = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(image)
    deeper = keras.Model(image, keras.layers.Dense(3)(keras.layers.Dense(5)(x)))
    plain, deep = float32_bytes(dense_only()), float32_bytes(deeper)
    assert Layers(plain, plain).unpaired() == () == Layers(deep, deep).unpaired()
    # The one that is there has weights of another shape, or none under its name.
    assert len(Layers(plain, deep).unpaired()) >= 1
    assert len(Layers(deep, plain).unpaired()) >= 1


def test_weights_of_another_shape_are_told():
    image = keras.Input((4, 4, 1))
    narrow, wide = (
        keras.Model(
            image,
            keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, size, name="only")(image)),
        )
        for size in (1, 3)
    )
    (name,) = Layers(float32_bytes(narrow), float32_bytes(wide)).unpaired()
    assert "only" in name


def spoil(data, weight, value):
    """Writes a value over the first number of a weight, behind the converter's back."""
    stored = weight.numpy().T
    spoilt = stored.copy()
    spoilt.flat[0] = value
    assert data.count(stored.tobytes()) == 1
    return data.replace(stored.tobytes(), spoilt.tobytes())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_found_in_any_place(value):
    model = dense_only()
    model.layers[-1].bias.assign([0.25, -0.5, 1])
    float32 = float32_bytes(model)
    for weight in model.weights:
        (wrong,) = Layers(spoil(float32, weight, value), float32).wrong_weights()
        assert wrong.off == np.inf
    # The same on both sides is what the student has.
    infinite = spoil(float32, model.weights[0], np.inf)
    assert Layers(infinite, infinite).wrong_weights() == ()


def test_noise_that_is_not_finite_is_an_error_of_the_file():
    model = dense_only()
    model.layers[-1].bias.assign([0.25, -0.5, 1])
    float32 = float32_bytes(model)
    spoilt = spoil(float32, model.layers[-1].bias, np.nan)
    images = np.ones((1, 4, 4, 1), np.float32)
    with pytest.raises(KgraftError, match="makes numbers that are not finite in the layer"):
        Layers(spoilt, float32).noise(images)
    # What the student itself says is no fault.
    assert {layer.snr_db for layer in Layers(spoilt, spoilt).noise(images)} == {None}


def test_the_infinities_of_a_mask_are_no_noise(monkeypatch):
    float32 = float32_bytes(dense_only())
    layers = Layers(float32, float32)
    said = iter([np.array([1.0, -128.0]), np.array([1.0, -np.inf])] * len(layers._pairs))
    monkeypatch.setattr(type(layers._ours), "value", lambda self, tensor: next(said))
    found = layers.noise(np.ones((1, 4, 4, 1), np.float32))
    assert {layer.snr_db for layer in found} == {None}
    said = iter([np.array([1.0, np.inf]), np.array([1.0, 2.0])])
    with pytest.raises(KgraftError, match="makes numbers that are not finite in the layer"):
        layers.noise(np.ones((1, 4, 4, 1), np.float32))


def test_a_layer_of_another_shape_is_an_error_of_the_file():
    ours, theirs = float32_bytes(dense_only(2)), float32_bytes(dense_only(3))
    with pytest.raises(KgraftError, match=r"makes \(1, 2\) in the layer .*, the student \(1, 3\)"):
        Layers(ours, theirs).noise(np.ones((1, 4, 4, 1), np.float32))


def test_a_file_that_takes_something_else_is_an_error_of_the_file():
    float32 = float32_bytes(dense_only())
    with pytest.raises(KgraftError, match=r"does not run without delegates: .*[Dd]imension"):
        Layers(float32, float32).noise(np.ones((1, 5, 5, 1), np.float32))
    with pytest.raises(KgraftError, match="does not run without delegates"):
        Layers(b"nothing", float32)
