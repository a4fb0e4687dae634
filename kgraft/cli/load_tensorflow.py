"""Loads TensorFlow without its start-up lines on the terminal."""

import os
import sys
import tempfile


def load_tensorflow(*, quiet: bool = False) -> None:
    """Imports TensorFlow and looks for its devices, with file descriptor 2 turned aside.

    The lines about oneDNN and missing CUDA drivers come from C++ before any log level is read, so
    that only the descriptor itself can hold them back. They are shown after all where the import
    fails, and where the user has set TF_CPP_MIN_LOG_LEVEL and so asked for TensorFlow's log.

    Args:
        quiet: hold them back in that case too, as where a parent process has set it.

    Raises:
        ImportError: TensorFlow cannot be loaded.
    """
    # A user's keras.json may name another backend; the work here is TensorFlow's.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ and not quiet:
        _import()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            _import()
        except BaseException:
            aside.seek(0)
            os.write(terminal, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def _import() -> None:
    import tensorflow as tf

    # The search for accelerators has start-up lines of its own.
    tf.config.list_physical_devices()
