"""What the files of an export folder, and the ends of the models in them, are called."""

from kgraft.config import FORMATS

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
SIGNATURE = "serving_default"

SAVED_MODEL = "saved_model"
FILE_NAMES = {
    name: SAVED_MODEL if name == SAVED_MODEL else f"student_{name}.tflite" for name in FORMATS
}
LABELS_NAME = "labels.txt"
PREPROCESS_NAME = "preprocess.json"
SUMS_NAME = "SHA256SUMS"
EXPORTS = "export"
# What kgraft-export adds to the folder.
REPORT_NAMES = ("report.json", "report.md")
# All that an export folder may hold, and what one of ours has for certain, one of them.
EXPORTED_NAMES = (*FILE_NAMES.values(), LABELS_NAME, PREPROCESS_NAME, SUMS_NAME, *REPORT_NAMES)
MARKS = (SUMS_NAME, PREPROCESS_NAME)
