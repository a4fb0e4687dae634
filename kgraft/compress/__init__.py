"""tensorflow-model-optimization for Keras 3 students: the bridge, and the third grafting stage."""

from kgraft.compress.bridge import to_keras, to_tf_keras
from kgraft.compress.legacy import load_tf_keras, load_tfmot
from kgraft.compress.quantizing import QuantizedStudent
from kgraft.compress.stage import (
    Compressed,
    TechniqueOutcome,
    check_compressible,
    checkpoint_names,
    compress,
    compress_phases,
    restore_quantized,
)

__all__ = [
    "Compressed",
    "QuantizedStudent",
    "TechniqueOutcome",
    "check_compressible",
    "checkpoint_names",
    "compress",
    "compress_phases",
    "load_tf_keras",
    "load_tfmot",
    "restore_quantized",
    "to_keras",
    "to_tf_keras",
]
