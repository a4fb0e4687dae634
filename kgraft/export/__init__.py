"""Student to device: SavedModel and TFLite files, verified and timed in LiteRT."""

from kgraft.export.convert import float32_bytes
from kgraft.export.latency import measure_latencies, measure_latency
from kgraft.export.records import ExportedFile, Verification
from kgraft.export.runner import TFLiteRunner
from kgraft.export.student import FILE_NAMES, LABELS_NAME, export_student
from kgraft.export.verify import (
    TOLERANCES,
    check_verified,
    verify_exports,
    verify_saved_model,
    verify_tflite,
)

__all__ = [
    "FILE_NAMES",
    "LABELS_NAME",
    "TOLERANCES",
    "ExportedFile",
    "TFLiteRunner",
    "Verification",
    "check_verified",
    "export_student",
    "float32_bytes",
    "measure_latencies",
    "measure_latency",
    "verify_exports",
    "verify_saved_model",
    "verify_tflite",
]
