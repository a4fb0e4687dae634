"""The flags of kgraft-distill: one section for each config dataclass."""

from collections.abc import Sequence
from typing import Any

from absl import flags

from kgraft import compress_config, config, data_config
from kgraft.cli.config_flags import Section, define_section, read_section


def _either(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"


TEACHER = Section(
    "teacher",
    config.TeacherConfig,
    {
        "source": "PATH.keras, embedded:NAME, zoo:NAME or applications:NAME",
        "cuts": "layer names where the teacher is cut, in order, or a number of blocks of about "
        "equal multiply-adds, fewer where some would have none",
        "outputs": f"what the teacher puts out: {_either(config.TEACHER_OUTPUTS)}; a single output "
        "becomes two logits: a sigmoid's under auto, one whose sign is the class under logits",
        "preprocess": f"pixels 0..255 into the teacher's input: {_either(config.PREPROCESSINGS)}",
    },
    config.FLAG_NAMES[config.TeacherConfig],
)

STUDENT = Section(
    "student",
    config.StudentConfig,
    {
        "graft": "blocks to replace, from 0: all, or numbers and ranges, each with an optional "
        "recipe: 2-4 or 3=width:0.25,4",
        "source": "recipe (width:0.5, inner:0.5, depth:3, drop, keep) or a Keras model "
        "(PATH.keras, zoo:NAME, applications:NAME) with as many blocks as the teacher",
        "cuts": "layer names where a student model is cut; none for recipes",
        "start": f"starting weights: {_either(config.STARTS)}",
    },
    config.FLAG_NAMES[config.StudentConfig],
)

IMAGES = Section(
    "images",
    config.DataConfig,
    {
        "dataset": "transfer images: tfds:NAME, folder:PATH, npz:PATH or embedded:NAME",
        "split": "part of the data set that the transfer images are drawn from",
        "data_dir": "folder of prepared TFDS data; none for TFDS's own",
        "manual_dir": "folder of hand-downloaded archives for TFDS; none for TFDS's own",
        "download": "let TFDS download and prepare what is not there",
        "shots": "transfer images per class; none where --images counts them",
        "images": "transfer images in all, drawn without looking at classes; where a flagfile "
        "names --shots give --shots=none too",
        "seed": "seed of the draw, the views and the training order",
        "augment": f"augmentation of the views: {_either(data_config.AUGMENTATIONS)}",
        "views": "training views per image; always one with --augment=none",
        "mixed_views": "further training views in all, each made of two views (mixup and CutMix; "
        "the teacher says what is to be seen there); auto: as many as bring the views to "
        f"{data_config.ENOUGH_VIEWS} in all (large ones: to {data_config.ENOUGH_BYTES >> 20} MiB), "
        "none with --augment=none",
        "extra_dataset": "further training images of any kind, in the form of --dataset; their "
        "labels are not read; none for none",
        "extra_split": "part of that data set that they are drawn from",
        "extra_images": "how many of them",
        "extra_views": "training views of each of them; always one with --extra_augment=none",
        "extra_augment": f"their augmentation: {_either(data_config.AUGMENTATIONS)}",
        "heldout_views": "held-out views per image, never trained on; 512 in all at most",
        "resize": f"fit images to the teacher's size: {_either(data_config.RESIZES)}; auto is crop "
        "for folders and for sets whose images differ in size, else none",
        "on_corrupt": f"unreadable transfer images: {_either(data_config.ON_CORRUPT)}; skip draws "
        "another one",
    },
)

TEST_SET = Section(
    "test set of the report",
    config.DataConfig,
    {
        "eval_dataset": "labelled test images, in the form of --dataset; none for no test set",
        "eval_split": "part of the data set to test on",
        "eval_data_dir": "folder of prepared TFDS data of the test set; none for --data_dir",
        "labels": "file of class names, one a line in the order of the logits; none for the data "
        "set's own",
    },
)

TRAINING = Section(
    "training",
    config.TrainConfig,
    {
        "loss": f"distance of student and teacher logits: {_either(config.LOSSES)}",
        "temperature": "softmax temperature of --loss=kl",
        "feature_weight": "weight of the feature term, at a span's cuts and its exit (in "
        "compression, where layers read); 0 for none",
        "steps": "updates of each phase; two numbers for stage one and stage two, more for every "
        "phase its own; 0 trains nothing",
        "batch": "views per update, over all replicas",
        "block_rate": "learning rate of student blocks, stage one; several for each block its own",
        "adapter_rate": "learning rate of adapters, stage one",
        "block_rate_two": "learning rate of student blocks, stage two",
        "adapter_rate_two": "learning rate of adapters, stage two",
        "optimizer": f"{_either(config.OPTIMIZERS)}",
        "decay": f"learning rate over a phase: {_either(config.DECAYS)}",
        "order": f"end that stage two grows from: {_either(config.ORDERS)}",
        "select": "weights kept of a phase: heldout (lowest loss on held-out views, the start "
        "included) or last",
        "strategy": f"distribution: {_either(config.STRATEGIES)}",
        "precision": f"what the graft computes in: {_either(config.PRECISIONS)}; auto is "
        "bfloat16 where the device multiplies it and the teacher names the same classes in it",
        "fake_quant": f"what student blocks are rounded to while they learn: "
        f"{_either(config.FAKE_QUANTS)}; int8 is for the int8 file, weights stay float32",
        "xla": "compile steps with XLA; for GPUs, on CPUs it is far slower and refused",
        "cache_mb": "memory for cached teacher activations, in MiB",
        "cache_dtype": f"what they are kept in: {_either(config.CACHE_DTYPES)}; float16 takes half "
        "the room",
        "spill_mb": "disk space in --workdir for activations beyond --cache_mb, in MiB",
    },
)

COMPRESSION = Section(
    "compression, a third stage",
    compress_config.CompressConfig,
    {
        "compress": "none, or prune, cluster, quantize, or several joined by + such as "
        "prune+quantize: the fused student is trained on by the same teacher and views",
        "sparsity": "share of the kernels' weights that pruning turns to zero",
        "sparsity_allocation": f"{_either(compress_config.SPARSITY_ALLOCATIONS)}: unstructured "
        "pruning takes most where it is missed least, or the same share of each kernel",
        "sparsity_schedule": f"{_either(compress_config.SPARSITY_SCHEDULES)}: in closed form "
        "before the first step; or by magnitude, more and more over the first half of the steps or "
        "all at once",
        "sparsity_pattern": f"which weights: {_either(compress_config.SPARSITY_PATTERNS)}; block "
        "is for dense layers",
        "clusters": "how many values clustering leaves to a kernel",
        "compress_steps": "updates of each technique",
        "compress_rate": "learning rate of the third stage",
        "compress_views": "views of each transfer image that it learns from, fresh ones, and mixed "
        "ones in proportion; 0 for the views of the other stages",
    },
)

EXPORT = Section(
    "export",
    config.ExportConfig,
    {
        "formats": f"what is written for the device, any of {', '.join(config.FORMATS)}",
        "preprocess_inside": "the files take pixels 0..255 and do the teacher's preprocessing "
        "themselves; without it they take what the teacher takes",
        "dynamic_batch": "the files take any number of images at once, not one",
        "min_agreement": "share of images, such as 0.97, on which each file must name the "
        "student's class, else the run fails; none for no such bound",
    },
)

TARGETS = Section(
    "targets",
    config.ExportConfig,
    {
        "target_latency_ms": "milliseconds for one image at one thread that one of the files "
        "should keep to; warns before training where none can; none for no target",
        "target_bytes": "bytes that one of the files should keep to, likewise",
    },
)

RUN = Section(
    "run",
    config.RunConfig,
    {
        "workdir": "folder for everything the run writes, new or empty",
        "resume": "go on from the finished phases of a stopped run in --workdir",
        "phases": "phases to train and stop after, by number or name as --dry_run lists them, such "
        "as 0-2,4 or one/block3, or by stage, one or two, so that several machines can share a "
        "run; all for the whole run",
        "side_by_side": "processes that train stage one, one a device: auto (one a GPU where there "
        "are several), off or a number",
    },
)

SECTIONS = (TEACHER, STUDENT, IMAGES, TEST_SET, TRAINING, COMPRESSION, EXPORT, TARGETS, RUN)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines every flag of kgraft-distill.

    Args:
        flag_values: where the flags are defined.
    """
    for section in SECTIONS:
        define_section(section, flag_values)


def build_config(flag_values: flags.FlagValues) -> config.RunConfig:
    """Makes the config of a run from the parsed flags.

    Args:
        flag_values: the parsed flags.

    Returns:
        The checked config.

    Raises:
        KgraftError: a value is missing or not valid; the message names the flag.
    """
    return config.RunConfig(
        teacher=config.TeacherConfig(**read_section(TEACHER, flag_values)),
        student=config.StudentConfig(**read_section(STUDENT, flag_values)),
        data=config.DataConfig(**_image_settings(flag_values)),
        train=config.TrainConfig(**read_section(TRAINING, flag_values)),
        compress=compress_config.CompressConfig(**read_section(COMPRESSION, flag_values)),
        export=config.ExportConfig(
            **read_section(EXPORT, flag_values), **read_section(TARGETS, flag_values)
        ),
        **read_section(RUN, flag_values),
    )


def _image_settings(flag_values: flags.FlagValues) -> dict[str, Any]:
    settings = read_section(IMAGES, flag_values) | read_section(TEST_SET, flag_values)
    if settings["images"] is not None and not flag_values["shots"].present:
        # Only the default asked for shots; whoever gives --images means images.
        flag_values["shots"].value = settings["shots"] = None
    return settings
