"""Student to device: SavedModel and TFLite files, verified and timed in LiteRT."""

from kgraft.export.convert import float32_bytes
from kgraft.export.judge import Demands, Reference, check_verified, with_test
from kgraft.export.latency import measure_latencies, measure_latency
from kgraft.export.metadata import read_labels
from kgraft.export.names import EXPORTS, FILE_NAMES, LABELS_NAME
from kgraft.export.records import Comparison, DeviceInput, ExportedFile, LayerNoise, Verification
from kgraft.export.runner import TFLiteRunner
from kgraft.export.student import export_student
from kgraft.export.verify import (
    TOLERANCES,
    keras_logits,
    short_name,
    verify_exports,
    verify_saved_model,
    verify_tflite,
)

__all__ = [
    "EXPORTS",
    "FILE_NAMES",
    "LABELS_NAME",
    "TOLERANCES",
    "Comparison",
    "Demands",
    "DeviceInput",
    "ExportedFile",
    "LayerNoise",
    "Reference",
    "TFLiteRunner",
    "Verification",
    "check_verified",
    "export_student",
    "float32_bytes",
    "keras_logits",
    "measure_latencies",
    "measure_latency",
    "read_labels",
    "short_name",
    "verify_exports",
    "verify_saved_model",
    "verify_tflite",
    "with_test",
]
