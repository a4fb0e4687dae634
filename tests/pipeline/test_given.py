import pathlib
import types

import keras
import pytest

from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.pipeline.given import given_config

FLAGS = {"teacher": "a.keras", "dataset": "folder:images"}
MODEL = types.SimpleNamespace(name="loaded")


def test_a_config_or_settings_by_name():
    config = RunConfig.from_flags(**FLAGS)
    assert given_config(config, {}, RunConfig.from_flags) is config
    assert given_config(None, FLAGS, RunConfig.from_flags) == config
    with pytest.raises(KgraftError, match="not both; got teacher, dataset too"):
        given_config(config, FLAGS, RunConfig.from_flags)


def test_a_loaded_teacher_has_a_name_where_none_is_given():
    """The same for every model: Keras numbers what a notebook makes a second time."""
    flags = {"dataset": "folder:images"}
    found = given_config(None, flags, RunConfig.from_flags, teacher_model=MODEL)
    assert found.teacher.source == "in memory"
    found = given_config(None, FLAGS, RunConfig.from_flags, teacher_model=MODEL)
    assert found.teacher.source == "a.keras"


def test_paths_are_taken_as_a_shell_would_give_them():
    home = pathlib.Path.home()
    flags = {
        "teacher": pathlib.Path("a.keras"),
        "dataset": "folder:~/images",
        "workdir": "~/runs",
    }
    found = given_config(None, flags, RunConfig.from_flags)
    assert found.teacher.source == "a.keras"
    assert (found.data.dataset, found.workdir) == (f"folder:{home}/images", f"{home}/runs")


def test_another_backend_of_keras(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(KgraftError, match="is loaded on jax: set KERAS_BACKEND=tensorflow in"):
        given_config(None, FLAGS, RunConfig.from_flags)
