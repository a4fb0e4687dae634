"""What the files of an export folder, and the ends of the models in them, are called."""

from kgraft.config import FORMATS, ONNX

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
SIGNATURE = "serving_default"

SAVED_MODEL = "saved_model"
_NOT_TFLITE = {SAVED_MODEL: SAVED_MODEL, ONNX: "student.onnx"}
FILE_NAMES = {name: _NOT_TFLITE.get(name, f"student_{name}.tflite") for name in FORMATS}
# The formats that LiteRT runs.
TFLITE = tuple(name for name in FORMATS if name not in _NOT_TFLITE)
LABELS_NAME = "labels.txt"
PREPROCESS_NAME = "preprocess.json"
SUMS_NAME = "SHA256SUMS"
EXPORTS = "export"
# What kgraft-export adds to the folder.
REPORT_NAMES = ("report.json", "report.md")
# All that an export folder may hold, and what one of ours has for certain, one of them.
EXPORTED_NAMES = (*FILE_NAMES.values(), LABELS_NAME, PREPROCESS_NAME, SUMS_NAME, *REPORT_NAMES)
MARKS = (SUMS_NAME, PREPROCESS_NAME)
