import keras
import pytest

from kgraft import api
from kgraft.pipeline.keras_settings import usual_keras_settings


@pytest.fixture
def unusual():
    """What a notebook may have set for the training of its own model."""
    config = keras.config
    before = (config.dtype_policy(), config.image_data_format(), config.floatx())
    config.set_floatx("float16")
    config.set_dtype_policy("mixed_float16")
    config.set_image_data_format("channels_first")
    yield
    config.set_dtype_policy(before[0])
    config.set_image_data_format(before[1])
    config.set_floatx(before[2])


def settings():
    config = keras.config
    return config.dtype_policy().name, config.image_data_format(), config.floatx()


def test_they_are_put_back(unusual):
    before = settings()
    with pytest.raises(KeyboardInterrupt), usual_keras_settings():
        assert settings() == ("float32", "channels_last", "float32")
        raise KeyboardInterrupt
    assert settings() == before == ("mixed_float16", "channels_first", "float16")


def test_a_student_has_none_of_them(world, tmp_path, unusual):
    model = keras.saving.load_model(world.teacher)
    before = settings()
    config = world.config(
        workdir=str(tmp_path / "run"),
        formats=("float32",),
        steps=(1, 1),
        graft="0=width:0.5,1=drop",
    )
    result = api.distill(config, teacher_model=model)
    assert {layer.compute_dtype for layer in result.student.layers} == {"float32"}
    assert settings() == before
