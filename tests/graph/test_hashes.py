import keras
import numpy as np
from keras import layers as kl
from small_models import small_model

from kgraft.graph import graph_sha256, trace_model


def test_weights():
    one, same, other = (trace_model(small_model("plain", seed=seed)) for seed in (0, 0, 1))
    assert graph_sha256(one) == graph_sha256(same) != graph_sha256(other)


def test_a_file_read_twice_has_one_hash(small_teacher, tmp_path):
    small_teacher.save(tmp_path / "model.keras")
    first, second = (
        graph_sha256(trace_model(keras.models.load_model(tmp_path / "model.keras")))
        for _ in range(2)
    )
    assert first == second


def test_names_do_not_count():
    def model():
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3))
        x = kl.Dropout(0.5)(kl.Conv2D(4, 3)(image))
        return trace_model(keras.Model(image, kl.GlobalAveragePooling2D()(x * 2.0)))

    first, second = model(), model()
    assert [call.name for call in first.calls] != [call.name for call in second.calls]
    assert graph_sha256(first) == graph_sha256(second)


def test_what_is_computed_counts_where_the_weights_are_equal():
    def model(**changes):
        settings = {"strides": 1, "activation": "relu", "pool": kl.GlobalAveragePooling2D} | changes
        pool = settings.pop("pool")
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3))
        x = pool(name="pool")(kl.Conv2D(4, 3, name="conv", **settings)(image))
        return trace_model(keras.Model(image, x))

    graphs = [
        model(),
        model(strides=2),
        model(activation="swish"),
        model(pool=kl.GlobalMaxPooling2D),
    ]
    assert len({graph_sha256(graph) for graph in graphs}) == 4


def test_operators_count():
    def model(scale):
        image = keras.Input((4, 4, 3))
        return trace_model(keras.Model(image, kl.Flatten(name="flat")(image * scale)))

    assert graph_sha256(model(0.5)) != graph_sha256(model(0.25))


def test_every_value_of_a_constant_counts():
    """Long arrays are not printed in full."""

    def model(mean):
        image = keras.Input((20, 20, 3))
        return trace_model(keras.Model(image, kl.Flatten()(image - mean)))

    mean = np.linspace(0, 1, 1200, dtype="float32").reshape(20, 20, 3)
    other = mean.copy()
    other[10, 10] += 1e-7
    assert graph_sha256(model(mean)) == graph_sha256(model(mean)) != graph_sha256(model(other))
