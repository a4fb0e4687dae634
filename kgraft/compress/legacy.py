"""Keras 2 and tensorflow-model-optimization: loaded late, and everything else left as found."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

_SWITCH = "TF_USE_LEGACY_KERAS"


@functools.cache
def load_tf_keras() -> Any:
    """Returns the package `tf_keras`, which is Keras 2."""
    import tf_keras

    return tf_keras


@functools.cache
def load_tfmot() -> Any:
    """Returns the package `tensorflow_model_optimization`.

    Importing it switches TensorFlow to Keras 2: it sets an environment variable, which child
    processes inherit, and `tf.keras`, where nothing has used it yet, becomes `tf_keras` for good.
    Here the variable is put back, and `tf.keras` settled before.
    """
    # Importing tf_keras makes new loaders under tf.compat, which are to be settled as well.
    load_tf_keras()
    _settle_keras()
    with _left_as_found(_SWITCH):
        import tensorflow_model_optimization as tfmot
    return tfmot


def _settle_keras() -> None:
    """Makes TensorFlow's lazy names for Keras decide which Keras they are."""
    import tensorflow as tf

    names = [tf.keras, tf.losses, tf.metrics, tf.optimizers, tf.initializers]
    for name in (*names, tf.compat.v1.keras, tf.compat.v2.keras):
        dir(name)


@contextlib.contextmanager
def _left_as_found(variable: str) -> Iterator[None]:
    found = os.environ.get(variable)
    try:
        yield
    finally:
        if found is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = found
