"""What exporting and verifying leave behind: small frozen records, no TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DeviceInput:
    """What a file takes, and what is done to pixels on the way there.

    Attributes:
        preprocess: what turns pixels 0..255 into the student's input, by name.
        inside: whether the files do that themselves and take pixels.
        resize: how images are fitted to the size: `none` or `crop`.
        dynamic_batch: whether the files take any number of images at once, not one.
    """

    preprocess: str = "none"
    inside: bool = False
    resize: str = "none"
    dynamic_batch: bool = False

    @property
    def in_file(self) -> str:
        """The preprocessing that the files do."""
        return self.preprocess if self.inside else "none"

    @property
    def before_file(self) -> str:
        """The preprocessing that is left to whoever runs the files."""
        return "none" if self.inside else self.preprocess


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
class Timing:
    """How long runs of a file took, one image each.

    Attributes:
        threads: threads that one run could use.
        median_ms, p95_ms: median and 95th percentile in milliseconds; None where a tool did not
            tell them.
        mean_ms: mean.
        runs: how many runs.
    """

    threads: int
    median_ms: float | None
    p95_ms: float | None
    mean_ms: float
    runs: int

    @property
    def typical_ms(self) -> float:
        """The median, or the mean where nothing else is known."""
        return self.mean_ms if self.median_ms is None else self.median_ms


@dataclasses.dataclass(frozen=True)
class LayerNoise:
    """How much of what a layer says is the noise of quantisation.

    Attributes:
        name: name of the layer's output in the file.
        op: TFLite's name of what makes it.
        snr_db: signal-to-noise ratio in decibels, the float32 file's values against the
            differences to them; None where there is no difference at all.
    """

    name: str
    op: str
    snr_db: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A file against the Keras student on labelled images.

    Attributes:
        max_abs_difference, mean_abs_difference: of a logit.
        agreement: share of images, 0..1, with the same largest logit.
        accuracy: share of images that the file classifies rightly; None without labels.
        images: how many.
    """

    max_abs_difference: float
    mean_abs_difference: float
    agreement: float
    accuracy: float | None
    images: int


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
        ops: how often each op of TFLite or ONNX occurs in the file; empty for a SavedModel.
        static: whether every tensor has a fixed shape.
        builtin_only: whether there are no custom and no flex (TensorFlow) ops, in ONNX none but
            those of the standard.
        ok: whether the file may be used.
        why: what is wrong, in one line; empty where `ok`.
        layers: of a quantised file, its layers, the noisiest first.
        test: the same comparison on the test set, where there is one.
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
    layers: tuple[LayerNoise, ...] = ()
    test: Comparison | None = None
