"""What is told of errors that are not ours."""

import keras
import pytest

from kgraft.errors import keras_reason


@keras.saving.register_keras_serializable("errors")
class Holder(keras.layers.Layer):
    """Does not take what it says of itself."""

    def get_config(self):
        return {**super().get_config(), "needless": 1}


def test_the_reason_is_what_the_innermost_error_says():
    with pytest.raises(TypeError) as caught:
        Holder.from_config(Holder(name="h").get_config())
    assert "Exception encountered: " in str(caught.value)
    assert keras_reason(caught.value) == (
        "Unrecognized keyword arguments passed to Holder: {'needless': 1}"
    )
    twice = TypeError(f"outer\nException encountered: config={{}}\n{caught.value}")
    assert keras_reason(twice) == keras_reason(caught.value)


def test_the_settings_of_a_whole_model_are_left_out():
    with pytest.raises(TypeError) as caught:
        keras.saving.deserialize_keras_object({
            "module": "somewhere",
            "class_name": "Absent",
            "config": {"layers": ["x" * 5000]},
            "registered_name": "Absent",
        })
    assert len(str(caught.value)) > 5000
    reason = keras_reason(caught.value)
    assert reason.startswith("Could not locate class 'Absent'. Make sure custom classes")
    assert "xxx" not in reason and len(reason) <= 300


def test_a_reason_is_one_line_of_at_most_300_characters():
    assert keras_reason(ValueError("a\n  b\n")) == "a b"
    assert keras_reason(NotImplementedError()) == "NotImplementedError"
    long = keras_reason(ValueError("x" * 400))
    assert len(long) == 300 and long.endswith("x...")
