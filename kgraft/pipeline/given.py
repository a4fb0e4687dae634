"""The settings of a call from Python, which come as a config or by the names of flags."""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

from kgraft.checks import with_home
from kgraft.errors import KgraftError

Config = TypeVar("Config")

# What the `teacher` setting is where a loaded model takes its place. Not the model's name, which
# Keras numbers anew each time that it is made, so that nothing would go on with its own work.
IN_MEMORY = "in memory"


def given_config(
    config: Config | None,
    flags: Mapping[str, Any],
    from_flags: Callable[..., Config],
    *,
    teacher_model: keras.Model | None = None,
) -> Config:
    """Returns the settings that a call was given.

    Args:
        config: all settings, or None.
        flags: settings by flag name, where there is no config.
        from_flags: makes the config from these.
        teacher_model: a loaded teacher; the `teacher` setting is then `IN_MEMORY`.

    Raises:
        KgraftError: Keras has another backend; there are a config and settings by name; a setting
            is unknown, not valid or missing.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise KgraftError(
            f"kgraft works with Keras on TensorFlow, and Keras is loaded on {backend}: set "
            "KERAS_BACKEND=tensorflow in the environment before Keras is imported"
        )
    if config is not None and flags:
        raise KgraftError(
            f"give a config or settings by name, not both; got {', '.join(flags)} too"
        )
    if config is not None:
        return config
    named = {} if teacher_model is None else {"teacher": IN_MEMORY}
    return from_flags(**{**named, **{name: _plain(value) for name, value in flags.items()}})


def _plain(value: Any) -> Any:
    """Takes what a shell would give: a path as text, `~` expanded."""
    if isinstance(value, str | os.PathLike):
        return with_home(os.fspath(value))
    return value
