"""What exporting and verifying leave behind: small frozen records, no TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """One thing written for the device.

    Attributes:
        name: file or folder name, as in the report: `student_int8.tflite`, `saved_model`.
        format: one of `kgraft.config.FORMATS`.
        path: where it lies.
        bytes: its size; of a folder, the sum over its files.
    """

    name: str
    format: str
    path: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Verification:
    """How an exported file compares with the Keras student on the same images.

    Attributes:
        name: file or folder name of what was verified.
        max_abs_difference: largest difference of a logit; None where the file does not run.
        mean_abs_difference: mean difference of the logits; None where the file does not run.
        largest_logit: largest absolute logit of the Keras student, the scale of the tolerance.
        tolerance: largest `max_abs_difference / largest_logit` that passes.
        agreement: share of images, 0..1, with the same largest logit; None where it does not run.
        images: how many images were compared.
        ops: how often each TFLite op occurs in the file; empty for a SavedModel.
        static: whether every tensor has a fixed shape.
        builtin_only: whether there are no custom and no flex (TensorFlow) ops.
        ok: whether the file may be used.
        why: what is wrong, in one line; empty where `ok`.
    """

    name: str
    max_abs_difference: float | None
    mean_abs_difference: float | None
    largest_logit: float
    tolerance: float
    agreement: float | None
    images: int
    ops: dict[str, int]
    static: bool
    builtin_only: bool
    ok: bool
    why: str
