"""What importing tensorflow-model-optimization leaves behind."""

import os
import subprocess
import sys

# What comes before may have used `tf.keras`, or not.
LOAD = """
import os
import sys
import keras
import tensorflow as tf
{before}
found = dict(os.environ)
from kgraft.compress import load_tf_keras, load_tfmot
loaded = {{"tf_keras", "tensorflow_model_optimization"}} & set(sys.modules)
tfmot = load_tfmot()
"""
CHECK = """
assert dict(os.environ) == found, "environment"
tf_keras = load_tf_keras()
assert tf_keras.__version__.startswith("2.")
dense = (tf_keras if os.environ.get("TF_USE_LEGACY_KERAS") == "1" else keras).layers.Dense
assert tf.keras.layers.Dense is dense, "tf.keras"
assert tf.compat.v1.keras.layers.Dense is dense, "tf.compat.v1.keras"
assert tf.compat.v2.keras.layers.Dense is dense, "tf.compat.v2.keras"
"""
USE = """
model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,))])
tfmot.sparsity.keras.prune_low_magnitude(model)
assert tfmot.quantization.keras.quantize_model(model) is not None
"""


def left_behind(before, check, switch=None):
    environment = {key: v for key, v in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    if switch is not None:
        environment["TF_USE_LEGACY_KERAS"] = switch
    program = LOAD.format(before=before) + CHECK + check
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_keras_2_that_was_asked_for_is_left_as_found():
    left_behind("", USE + CHECK, switch="1")


def test_keras_is_the_same_object_as_before():
    before = "tf.keras.layers, tf.losses.Loss\nobjects = tf.keras, tf.losses, tf.keras.layers"
    same = "assert (tf.keras, tf.losses, tf.keras.layers) == objects\n"
    # The bridge loads Keras 2 late.
    left_behind(before, same + "assert not loaded, loaded\n" + USE + CHECK + same)
