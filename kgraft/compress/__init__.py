"""tensorflow-model-optimization for Keras 3 students."""

from kgraft.compress.bridge import to_keras, to_tf_keras
from kgraft.compress.legacy import load_tf_keras, load_tfmot

__all__ = ["load_tf_keras", "load_tfmot", "to_keras", "to_tf_keras"]
