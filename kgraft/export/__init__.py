"""Student to device: SavedModel, TFLite and ONNX files, verified and timed."""

from kgraft.export.convert import float32_bytes
from kgraft.export.device import microcontroller_notes, phone_commands
from kgraft.export.extras import check_extras
from kgraft.export.guards import check_folder, check_labels
from kgraft.export.judge import Demands, Reference, check_verified, with_test
from kgraft.export.latency import measure_latencies, measure_timings
from kgraft.export.litert_tool import (
    check_resolution,
    find_tool,
    from_json,
    from_log,
    time_by_tool,
)
from kgraft.export.metadata import read_labels
from kgraft.export.names import EXPORTS, FILE_NAMES, LABELS_NAME, TFLITE
from kgraft.export.onnx_file import OnnxRunner, is_onnx, open_session
from kgraft.export.records import (
    Comparison,
    DeviceInput,
    ExportedFile,
    LayerNoise,
    Timing,
    Verification,
)
from kgraft.export.runner import SIDE_BY_SIDE, TFLiteRunner, open_interpreter
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
    "SIDE_BY_SIDE",
    "TFLITE",
    "TOLERANCES",
    "Comparison",
    "Demands",
    "DeviceInput",
    "ExportedFile",
    "LayerNoise",
    "OnnxRunner",
    "Reference",
    "TFLiteRunner",
    "Timing",
    "Verification",
    "check_extras",
    "check_folder",
    "check_labels",
    "check_resolution",
    "check_verified",
    "export_student",
    "find_tool",
    "float32_bytes",
    "from_json",
    "from_log",
    "is_onnx",
    "keras_logits",
    "measure_latencies",
    "measure_timings",
    "microcontroller_notes",
    "open_interpreter",
    "open_session",
    "phone_commands",
    "read_labels",
    "short_name",
    "time_by_tool",
    "verify_exports",
    "verify_saved_model",
    "verify_tflite",
    "with_test",
]
