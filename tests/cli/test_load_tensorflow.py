import os
import subprocess
import sys

LOAD = """
from kgraft.cli.load_tensorflow import load_tensorflow
load_tensorflow()
import keras
import numpy as np
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
print(keras.backend.backend(), model(np.zeros((3, 4))).shape)
"""

FAIL = """
import os, sys
from kgraft.cli import load_tensorflow
def fail():
    os.write(2, b"a library is missing\\n")
    raise ImportError
load_tensorflow._import = fail
try:
    load_tensorflow.load_tensorflow()
except ImportError:
    print("still here", file=sys.stderr)
"""


def run(program):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    environment["KERAS_BACKEND"] = "jax"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_start_up_lines_stay_off_the_terminal():
    result = run(LOAD)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "tensorflow (3, 2)\n"


def test_what_was_held_back_is_shown_when_the_import_fails():
    assert run(FAIL).stderr == "a library is missing\nstill here\n"
