"""What a run is asked to do: frozen dataclasses, one per stage, checked when they are made.

It and what it imports need the standard library only: flags are checked before TensorFlow loads.
"""

import dataclasses
from typing import Any

from kgraft.checks import above_zero, at_least, one_of, whole
from kgraft.compress_config import COMPRESSED_FORMATS, UNCOMPRESSED, CompressConfig
from kgraft.data_config import DataConfig
from kgraft.errors import KgraftError
from kgraft.phases import ALL, check_phases, check_side_by_side

PREPROCESSINGS = ("auto", "none", "unit", "tf", "torch", "caffe")
TEACHER_OUTPUTS = ("auto", "logits", "probabilities")
LOSSES = ("normalized_mse", "mse", "kl")
STARTS = ("teacher", "random")
ORDERS = ("forward", "backward")
OPTIMIZERS = ("adam", "muon", "sgd")
DECAYS = ("cosine", "constant")
CACHE_DTYPES = ("float32", "float16")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
PRECISIONS = ("auto", "float32", "bfloat16")
FAKE_QUANTS = ("none", "int8")
# What any student can be exported as, what needs a compressed one, ai-edge-quantizer or tf2onnx.
PLAIN_FORMATS = ("saved_model", "float32", "float16", "dynamic", "int8", "int16x8")
EDGE_FORMATS = ("aeq_int8", "aeq_int4", "aeq_mixed")
ONNX = "onnx"
FORMATS = (*PLAIN_FORMATS, *COMPRESSED_FORMATS, *EDGE_FORMATS, ONNX)
# The others are made when asked for: LiteRT's kernels for int16x8 are slow on most machines.
DEFAULT_FORMATS = ("saved_model", "float32", "float16", "int8")
# The blocks are listed before the teacher is opened, which takes long where a count is a mistake.
_MOST_BLOCKS = 1000


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """The trained model and where it is cut.

    Attributes:
        source: `PATH.keras`, `embedded:NAME`, `zoo:NAME` or `applications:NAME`.
        cuts: names of the cuts, in order, or how many blocks of about equal multiply-adds to make
            at most: where more would have none, there are fewer.
        outputs: what the model puts out; `auto` finds out. A single output becomes two logits: a
            sigmoid's under `auto`, one whose sign is the class under `logits`.
        preprocess: what turns pixels 0..255 into the model's input; `auto` knows the zoo's and
            keras.applications' own and takes `none` (pixels as they are) for other files.
    """

    source: str
    cuts: tuple[str, ...] | int = 5
    outputs: str = "auto"
    preprocess: str = "auto"

    def __post_init__(self) -> None:
        if not self.source:
            raise KgraftError(
                "--teacher is missing: give PATH.keras, embedded:NAME, zoo:NAME or "
                "applications:NAME"
            )
        if isinstance(self.cuts, int):
            at_least("teacher_cuts", self.cuts, 1)
            if self.cuts > _MOST_BLOCKS:
                raise KgraftError(
                    f"--teacher_cuts must be names of cuts or at most {_MOST_BLOCKS} blocks; got "
                    f"{self.cuts}"
                )
        one_of("teacher_outputs", self.outputs, TEACHER_OUTPUTS)
        one_of("preprocess", self.preprocess, PREPROCESSINGS)


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """What replaces the teacher's blocks.

    Attributes:
        source: a recipe (`width:0.5`, `depth:3`), or a Keras model (`PATH.keras`, `zoo:NAME`,
            `applications:NAME`) that is cut at `cuts` into as many blocks as the teacher.
        cuts: the cuts of a student model; empty for recipes.
        graft: which blocks are replaced: `all`, or comma-separated block numbers (from 0) and
            ranges, each with an optional recipe of its own: `2-4`, `3=width:0.25,4`.
        start: starting weights: `teacher` (chosen channels, copied; solved adapters) or `random`.
    """

    source: str = "width:0.5"
    cuts: tuple[str, ...] = ()
    graft: str = "all"
    start: str = "teacher"

    def __post_init__(self) -> None:
        one_of("start", self.start, STARTS)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the phases of the graft schedule are trained.

    Attributes:
        loss: `normalized_mse` (the paper's), `mse` or `kl`, all on logits.
        temperature: softmax temperature of `kl`.
        feature_weight: weight of the feature term, at the span's cuts and its exit, in compression
            at the cuts of the fused student; 0 for none.
        steps: updates of each stage-one and stage-two phase, or of every phase; 0 trains nothing.
        batch: views per update, over all replicas.
        block_rate, adapter_rate: stage-one rates; the first may be one for each replaced block.
        block_rate_two, adapter_rate_two: stage-two learning rates.
        optimizer, decay: optimiser, and the shape of its rate over a phase.
        order: which end stage two grows from.
        select: weights kept of a phase: `heldout`, of the lowest held-out loss, or `last`.
        strategy: distribution strategy.
        precision: what the graft computes in, weights apart; `auto` is bfloat16 where that is safe.
        fake_quant: what student blocks are rounded to while they learn: `int8` for weights and
            activations as in an int8 file, `none` for nothing.
        xla: whether steps are compiled with XLA, for GPUs only.
        cache_mb: memory for cached teacher activations, in MiB.
        cache_dtype: what they are kept in; steps compute in float32 or `precision` either way.
        spill_mb: disk space in the work folder for those that do not fit in memory, in MiB.
    """

    loss: str = "normalized_mse"
    temperature: float = 4.0
    feature_weight: float = 1.0
    steps: tuple[int, int] | tuple[int, ...] = (200, 600)
    batch: int = 64
    block_rate: float | tuple[float, ...] = 1e-3
    adapter_rate: float = 1e-3
    block_rate_two: float = 1e-3
    adapter_rate_two: float = 1e-3
    optimizer: str = "adam"
    decay: str = "cosine"
    order: str = "forward"
    select: str = "heldout"
    strategy: str = "auto"
    precision: str = "auto"
    fake_quant: str = "none"
    xla: bool = False
    cache_mb: int = 2048
    cache_dtype: str = "float32"
    spill_mb: int = 0

    def __post_init__(self) -> None:
        one_of("loss", self.loss, LOSSES)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("decay", self.decay, DECAYS)
        one_of("order", self.order, ORDERS)
        one_of("select", self.select, ("heldout", "last"))
        one_of("strategy", self.strategy, STRATEGIES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("fake_quant", self.fake_quant, FAKE_QUANTS)
        above_zero("temperature", self.temperature)
        at_least("feature_weight", self.feature_weight, 0)
        for steps in self.steps:
            whole("steps", steps)
            at_least("steps", steps, 0)
        whole("batch", self.batch)
        at_least("batch", self.batch, 1)
        for flag in ("block_rate", "adapter_rate", "block_rate_two", "adapter_rate_two"):
            above_zero(flag, getattr(self, flag))
        at_least("cache_mb", self.cache_mb, 0)
        one_of("cache_dtype", self.cache_dtype, CACHE_DTYPES)
        at_least("spill_mb", self.spill_mb, 0)


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What is written for the device.

    Attributes:
        formats: any of `saved_model`, `float32`, `float16`, `dynamic` (int8 weights), `int8`
            (full-integer), `int16x8` (int16 activations, int8 weights), `sparse` (of a pruned
            student), `int8_qat` (full-integer, trained so), `aeq_int8`, `aeq_int4`, `aeq_mixed`,
            `onnx`.
        preprocess_inside: whether the files take pixels 0..255 and preprocess them themselves.
        dynamic_batch: whether the files take any number of images at once, not one.
        min_agreement: share of images, 0..1, on which a file must name the student's class; None
            for no such bound.
        target_latency_ms, target_bytes: what one of the files should meet; a run whose student
            cannot says so before training. None for no target.
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    preprocess_inside: bool = False
    dynamic_batch: bool = False
    min_agreement: float | None = None
    target_latency_ms: float | None = None
    target_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.formats:
            one_of("formats", name, FORMATS)
        if len(set(self.formats)) < len(self.formats):
            raise KgraftError(f"--formats must name each format once; got {','.join(self.formats)}")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise KgraftError(
                "--min_agreement must be a share of images from 0 to 1, such as 0.97; got "
                f"{self.min_agreement}"
            )
        above_zero("target_latency_ms", self.target_latency_ms)
        whole("target_bytes", self.target_bytes)
        above_zero("target_bytes", self.target_bytes)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One whole distillation.

    Attributes:
        workdir: folder for everything the run writes; new or empty, or with `resume` the folder of
            a run of the same settings that was stopped.
        resume: whether to go on from the phases finished in `workdir`.
        phases: `all`, or the phases to train and stop after, by number, name or stage: `0-2,4`.
        side_by_side: processes that train stage one; `auto`: one a GPU where there are several.
    """

    teacher: TeacherConfig
    data: DataConfig
    student: StudentConfig = StudentConfig()
    train: TrainConfig = TrainConfig()
    compress: CompressConfig = UNCOMPRESSED
    export: ExportConfig = ExportConfig()
    workdir: str = "kgraft_run"
    resume: bool = False
    phases: str = ALL
    side_by_side: str = "auto"

    def __post_init__(self) -> None:
        check_phases(self.phases)
        check_side_by_side(self.side_by_side)
        self.compress.check_run(self.export.formats)
        fresh = self.compress.techniques and self.compress.compress_views
        if fresh and self.data.augment == "none":
            raise KgraftError(
                "--compress_views are further views of the same images, and --augment=none has no "
                "further ones: give --augment=crop_flip or imagenet, or --compress_views=0"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain nested dicts, for the report and for resuming."""
        return dataclasses.asdict(self)

    @classmethod
    def from_flags(cls, **flags: Any) -> "RunConfig":
        """Makes the config from settings by the names they have on the command line.

        Args:
            **flags: such as `teacher="model.keras"`, `teacher_cuts=5`, `shots=10`.

        Raises:
            KgraftError: a name is unknown, a value is not valid or a needed one is missing.
        """
        if flags.get("images") is not None:
            flags.setdefault("shots", None)
        made: dict[str, Any] = {}
        for section, config in _SECTIONS.items():
            names = FLAG_NAMES.get(config, {})
            values = {}
            for field in dataclasses.fields(config):
                flag = names.get(field.name, field.name)
                if flag in flags:
                    values[field.name] = _as_field(flags.pop(flag), field.type)
                elif field.default is dataclasses.MISSING:
                    raise KgraftError(f"{flag} is missing: it has no default")
            made[section] = config(**values)
        own: dict[str, Any] = {n: flags.pop(n) for n in ("workdir", "resume") if n in flags}
        own |= {n: str(flags.pop(n)) for n in ("phases", "side_by_side") if n in flags}
        if flags:
            raise KgraftError(
                f"unknown settings: {', '.join(sorted(flags))}; they are named as the flags of "
                "kgraft-distill, see its --help"
            )
        return cls(**made, **own)


def _as_field(value: Any, kind: Any) -> Any:
    """Takes what a flag would: `"a,b"` or a list for a tuple, one number for both stages."""
    if "tuple" not in str(kind):
        return value
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    if "tuple[int, int]" in str(kind) and isinstance(value, int):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


_SECTIONS: dict[str, type] = {
    "teacher": TeacherConfig,
    "data": DataConfig,
    "student": StudentConfig,
    "train": TrainConfig,
    "compress": CompressConfig,
    "export": ExportConfig,
}

# Fields whose flag has another name, by dataclass.
FLAG_NAMES: dict[type, dict[str, str]] = {
    TeacherConfig: {"source": "teacher", "cuts": "teacher_cuts", "outputs": "teacher_outputs"},
    StudentConfig: {"source": "student", "cuts": "student_cuts"},
}
