"""Keras's global settings, kept out of what a run makes."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def usual_keras_settings() -> Iterator[None]:
    """Has Keras's global settings as a fresh process has them, and puts the user's own back.

    Layers are made by them where nothing else is said: a notebook that trained its model in mixed
    precision would get a student whose adapters are float16.
    """
    config = keras.config
    before = (config.dtype_policy(), config.floatx(), config.image_data_format())
    _set("float32", "float32", "channels_last")
    try:
        yield
    finally:
        _set(*before)


def _set(policy: str | keras.DTypePolicy, floatx: str, data_format: str) -> None:
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)
