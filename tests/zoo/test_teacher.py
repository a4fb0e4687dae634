import keras
import numpy as np
import pytest
from keras import layers

from kgraft.data import eval_batches, open_source
from kgraft.errors import KgraftError
from kgraft.zoo import check_model, load_teacher


def functional(outputs=1, inputs=1, shape=(8, 8, 3)):
    images = [keras.Input(shape) for _ in range(inputs)]
    x = images[0] if inputs == 1 else layers.Add()(images)
    x = layers.Flatten()(x)
    ends = [layers.Dense(4)(x) for _ in range(outputs)]
    return keras.Model(images if inputs > 1 else images[0], ends if outputs > 1 else ends[0])


@keras.saving.register_keras_serializable("kgraft_tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten, self.dense = layers.Flatten(), layers.Dense(4)

    def call(self, x):
        return self.dense(self.flatten(x))


def saved(model, tmp_path):
    path = tmp_path / "teacher.keras"
    model.save(path)
    return str(path)


def test_loads_a_file(tmp_path):
    model = functional()
    path = saved(model, tmp_path)
    teacher = load_teacher(path)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(teacher.model(x)), np.asarray(model(x)))
    assert (teacher.preprocess, teacher.name) == ("none", path)


def test_a_compiled_file_loses_its_optimizer(tmp_path):
    model = functional()
    model.compile("adam", "mse")
    assert getattr(load_teacher(saved(model, tmp_path)).model, "optimizer", None) is None


def test_sequential_becomes_functional(tmp_path):
    model = keras.Sequential([
        keras.Input((8, 8, 3)),
        layers.Conv2D(2, 3),
        layers.Flatten(),
        layers.Dense(4),
    ])
    teacher = load_teacher(saved(model, tmp_path)).model
    assert not isinstance(teacher, keras.Sequential)
    x = np.ones((2, 8, 8, 3), "float32")
    np.testing.assert_array_equal(np.asarray(teacher(x)), np.asarray(model(x)))


def test_preprocess_can_be_given(tmp_path):
    assert load_teacher(saved(functional(), tmp_path), preprocess="tf").preprocess == "tf"


def test_zoo():
    teacher = load_teacher("zoo:cifar_resnet20", classes=7)
    assert teacher.model.output_shape == (None, 7)
    assert (teacher.preprocess, teacher.name) == ("none", "zoo:cifar_resnet20")


def test_embedded_teacher_is_good_and_small():
    teacher = load_teacher("embedded:fashion_mnist")
    assert teacher.model.count_params() < 600_000
    source = open_source("embedded:fashion_mnist", split="test", channels=1)
    images, labels = next(eval_batches(source, size=(28, 28, 1), batch=2000))
    logits = np.asarray(teacher.model(images.astype("float32"), training=False))
    # 93 % of all 10,000 are promised; two standard errors of 2,000 are 1.1 points.
    assert np.mean(np.argmax(logits, -1) == labels) > 0.919


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.keras", "no teacher file missing.keras"),
        ("somewhere", "a teacher is PATH.keras, embedded:NAME, zoo:NAME or applications:NAME"),
        ("tfds:cifar10", "a teacher is PATH.keras"),
        ("zoo:vgg", "no network 'vgg' in the zoo; the zoo has"),
        ("embedded:mnist", "no embedded teacher 'mnist'; there is fashion_mnist"),
        ("applications:lenet", "keras.applications has no network 'lenet'; it has"),
    ],
)
def test_unknown_sources(source, message):
    with pytest.raises(KgraftError, match=message):
        load_teacher(source)


def test_unknown_preprocess():
    with pytest.raises(KgraftError, match="preprocess must be one of auto, none, unit"):
        load_teacher("zoo:fashion_vgg", preprocess="half")


def test_file_that_is_no_model(tmp_path):
    path = tmp_path / "teacher.keras"
    path.write_bytes(b"not a zip file")
    with pytest.raises(KgraftError, match=r"read as a Keras model.*\(it is no zip arch") as caught:
        load_teacher(str(path))
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path):
    path = saved(functional(), tmp_path)
    with open(path, "r+b") as file:
        file.truncate(2000)
    with pytest.raises(KgraftError, match="cannot be read as a Keras model"):
        load_teacher(path)


class Blur(layers.Layer):
    """A layer that the process which loads the file has not registered."""

    def call(self, x):
        return x


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_layer_that_keras_does_not_know_is_named(tmp_path, suffix):
    x = keras.Input((8, 8, 3))
    path = tmp_path / f"teacher.{suffix}"
    keras.Model(x, layers.Dense(4)(layers.Flatten()(Blur()(x)))).save(path)
    message = r"\((Could not locate class|Unknown layer:) 'Blur'"
    with pytest.raises(KgraftError, match=message) as caught:
        load_teacher(str(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def keras_2_model():
    from kgraft.compress.legacy import load_tf_keras

    library = load_tf_keras()
    x = library.Input((8, 8, 3))
    return library.Model(x, library.layers.Dense(4)(library.layers.Flatten()(x)))


def test_a_model_of_keras_2(tmp_path):
    former = keras_2_model()
    with pytest.raises(KgraftError, match=r"m is a model of Keras 2 .*: expected one of Keras 3"):
        check_model(former, "m")
    former.save(tmp_path / "former.keras")
    message = r"\(it is of Keras 2\.[0-9.]+: load it there and save it as \.h5, which Keras 3 reads"
    with pytest.raises(KgraftError, match=message) as caught:
        load_teacher(str(tmp_path / "former.keras"))
    assert len(str(caught.value)) < 500
    former.save(tmp_path / "former.h5")
    pixels = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    found = load_teacher(str(tmp_path / "former.h5")).model
    np.testing.assert_allclose(found(pixels), former(pixels), atol=1e-6)


def test_a_sequential_that_is_not_built():
    model = keras.Sequential([layers.Flatten(), layers.Dense(4)])
    message = r"m is a Sequential that is not built: .*; put keras\.Input\(.* call model\.build\("
    with pytest.raises(KgraftError, match=message):
        check_model(model, "m")
    model.build((None, 8, 8, 3))
    assert check_model(model, "m").output_shape == (None, 4)


def test_channels_first():
    x = keras.Input((3, 8, 8))
    y = layers.Conv2D(4, 3, data_format="channels_first", name="conv")(x)
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(y)))
    message = "m: layer conv is of channels_first: expected channels_last; make the model again"
    with pytest.raises(KgraftError, match=message):
        check_model(model, "m")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_of_mixed_precision_computes_in_float32(tmp_path, policy):
    former = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        x = keras.Input((8, 8, 3))
        inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same")])
        y = inner(layers.Conv2D(4, 3, padding="same", name="first")(x)) + 1.0
        y = layers.Dense(2, dtype="float32")(layers.GlobalAveragePooling2D()(y))
        path = saved(keras.Model(x, y), tmp_path)
    finally:
        keras.config.set_dtype_policy(former)
    loaded, mixed = load_teacher(path).model, keras.saving.load_model(path)
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    assert loaded.get_layer("first").compute_dtype == "float32"
    for new, old in zip(loaded.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    pixels = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    np.testing.assert_allclose(loaded(pixels), mixed(pixels), atol=0.05)


def test_a_model_of_mixed_precision_keeps_its_adapted_normalization():
    policy = {"dtype": "mixed_float16"}
    x = keras.Input((8, 8, 3))
    adapted = layers.Normalization(mean=[10.0, 20.0, 30.0], variance=[4.0, 9.0, 16.0], **policy)
    learned = layers.Normalization(**policy)
    pixels = np.random.default_rng(0).normal(20, 5, (64, 8, 8, 3)).astype("float32")
    learned.adapt(pixels)
    y = layers.Conv2D(4, 3, **policy)(layers.Add(dtype="float32")([adapted(x), learned(x)]))
    y = layers.Dense(2, dtype="float32")(layers.GlobalAveragePooling2D()(y))
    mixed = keras.Model(x, y)
    found = check_model(mixed, "mixed")
    assert found is not mixed
    np.testing.assert_allclose(found(pixels), mixed(pixels), atol=0.05)


def test_a_layer_that_cannot_be_made_anew_in_float32():
    class Own(layers.Layer):
        def __init__(self, needed):
            super().__init__(dtype="mixed_float16")

        def call(self, x):
            return x

    x = keras.Input((8, 8, 3))
    y = layers.Dense(2)(layers.GlobalAveragePooling2D()(Own(1)(x)))
    with pytest.raises(KgraftError, match="own computes in half precision, and cannot be") as got:
        check_model(keras.Model(x, y), "own")
    assert "\n" not in str(got.value) and len(str(got.value)) < 450


def test_subclassed_model(tmp_path):
    model = Subclassed()
    model(np.ones((1, 8, 8, 3), "float32"))
    with pytest.raises(KgraftError, match="holds a Subclassed whose graph cannot be seen"):
        load_teacher(saved(model, tmp_path))


@pytest.mark.parametrize("ends", [{"inputs": 2}, {"outputs": 2}])
def test_several_ends(tmp_path, ends):
    count = f"{ends.get('inputs', 1)} inputs and {ends.get('outputs', 1)} outputs"
    with pytest.raises(KgraftError, match=f"has {count}; expected one image in"):
        load_teacher(saved(functional(**ends), tmp_path))


def test_not_an_image_model(tmp_path):
    x = keras.Input((5,))
    with pytest.raises(KgraftError, match=r"expected images \[batch, height, width, channels\]"):
        load_teacher(saved(keras.Model(x, layers.Dense(2)(x)), tmp_path))


def test_open_size(tmp_path):
    x = keras.Input((None, None, 3))
    y = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x)))
    with pytest.raises(KgraftError, match="of a fixed size"):
        load_teacher(saved(keras.Model(x, y), tmp_path))


def test_kernels_that_are_not_what_a_layer_computes_with():
    def model():
        x = keras.Input((8, 8, 3))
        return keras.Model(x, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))

    tuned, rounded = model(), model()
    tuned.get_layer("head").enable_lora(2)
    with pytest.raises(KgraftError, match="m: layer head has LoRA weights beside its kernel"):
        check_model(tuned, "m")
    rounded.quantize("int8")
    with pytest.raises(KgraftError, match=r"m: layer head is quantised \(int8\): expected the flo"):
        check_model(rounded, "m")
