"""What a run reports: frozen records that say the same in JSON, Markdown and on the terminal."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kgraft.compress import TechniqueOutcome
from kgraft.export import Verification
from kgraft.grafting import PhaseResult, Remaining

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """One model in the report's table; None where a figure is not known.

    Attributes:
        name: `teacher`, `student`, `fused` (the student before pruning and clustering), or the name
            of an exported file.
        accuracy: share of test images classified rightly, 0..1.
        agreement: share of images on which the largest logit is the teacher's, 0..1.
        parameters: weights, those of the BatchNorms' statistics not counted.
        macs: multiply-adds for one image.
        bytes: size on disk; of teacher and student, as a float32 TFLite file.
        latency_ms: median milliseconds for one image on one thread, in LiteRT or, of an ONNX file,
            in ONNX Runtime.
        accuracy_among: where the test set has fewer classes than the model logits, the accuracy
            when only the logits of those classes count, 0..1.
        gzip_bytes: size of the file when gzip has compressed it.
    """

    name: str
    accuracy: float | None = None
    agreement: float | None = None
    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    accuracy_among: float | None = None
    gzip_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Something the run left out.

    Attributes:
        what: the image, figure or export left out.
        why: the reason.
    """

    what: str
    why: str


@dataclasses.dataclass(frozen=True)
class RunReport:
    """Everything a run has to tell.

    Attributes:
        models: the table: teacher, student, each exported file.
        phases: the graft schedule as it was carried out.
        transfer: the few-shot set: at least `images` (count) and `sha256` (of the sample list).
        seconds: wall time by part of the run; the parts add up to the whole.
        flags: the resolved settings, `RunConfig.to_dict()`.
        versions: package to version.
        seeds: purpose to seed.
        adapters_left: adapters that stay in the student, with the reason.
        verification: each export against the Keras student.
        skipped: what was left out and why.
        selection_rule: how the weights of a phase are chosen, in words.
        evaluation: what accuracy and agreement in `models` were measured on.
        peak_memory_mb: largest resident memory of the run, in MiB; None where unknown.
        compression: what the techniques of the third stage made of the kernels.
    """

    models: tuple[ModelRow, ...]
    phases: tuple[PhaseResult, ...]
    transfer: Mapping[str, Any]
    seconds: Mapping[str, float]
    flags: Mapping[str, Any]
    versions: Mapping[str, str]
    seeds: Mapping[str, int]
    adapters_left: tuple[Remaining, ...] = ()
    verification: tuple[Verification, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    selection_rule: str = ""
    evaluation: str = ""
    peak_memory_mb: float | None = None
    compression: tuple[TechniqueOutcome, ...] = ()
