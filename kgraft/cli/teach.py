"""kgraft-teach: a labelled data set in, a trained teacher out."""

from typing import Any, NoReturn

from absl import flags

from kgraft.cli import entry
from kgraft.cli.config_flags import Section, define_section, read_section
from kgraft.data_config import AUGMENTATIONS, RESIZES
from kgraft.teach.config import PRECISIONS, TeachConfig

ABOUT = (
    "Trains a teacher on a labelled set (SGD with Nesterov momentum, one-cycle rate), keeps its "
    "state after every epoch, tests it once at the end and writes it as one .keras file, pixels "
    "0..255 to logits."
)

SECTIONS = (
    Section(
        "teacher",
        TeachConfig,
        {
            "model": "zoo:NAME for a new network, or PATH.keras to start from its weights",
            "output": "the .keras file to write",
            "workdir": "folder for the state after each epoch and for teach.json; new or empty",
            "resume": "go on from the last finished epoch in --workdir",
        },
    ),
    Section(
        "images",
        TeachConfig,
        {
            "dataset": "labelled images: tfds:NAME, folder:PATH, npz:PATH or embedded:NAME",
            "split": "part of the data set to train on",
            "data_dir": "folder of prepared TFDS data; none for TFDS's own",
            "manual_dir": "folder of hand-downloaded archives for TFDS; none for TFDS's own",
            "download": "let TFDS download and prepare what is not there",
            "resize": f"fit images to the model's size: {', '.join(RESIZES)}; auto is crop "
            "for folders and for sets whose images differ in size, else none",
            "augment": f"augmentation: {', '.join(AUGMENTATIONS)}",
            "crop_padding": "zero pixels around an image before the random crop of crop_flip",
            "memory_mb": "hold the decoded images in memory up to this size, in MiB; larger sets "
            "are decoded in every epoch",
        },
    ),
    Section(
        "test set",
        TeachConfig,
        {
            "eval_dataset": "labelled test images, in the form of --dataset; none for --dataset's "
            "own test split where it has one (tfds:, embedded:)",
            "eval_split": "part of the data set to test on; none for no test",
            "eval_data_dir": "folder of prepared TFDS data of the test set; none for --data_dir",
        },
    ),
    Section(
        "training",
        TeachConfig,
        {
            "epochs": "passes over the training images",
            "batch": "images per update",
            "peak_rate": "highest learning rate of the one-cycle schedule",
            "warmup": "part of all updates over which the rate rises",
            "momentum": "Nesterov momentum",
            "weight_decay": "L2 penalty on convolution and dense kernels",
            "label_smoothing": "share of each target spread evenly over the classes",
            "precision": f"what layers compute in: {', '.join(PRECISIONS)}",
            "seed": "seed of the starting weights, the order and the augmentation",
        },
    ),
)


def main() -> NoReturn:
    """Runs the command on `sys.argv`.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    entry.run("kgraft-teach", define_flags, build_config, execute, about=ABOUT)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        flag_values: where the flags are defined.
    """
    for section in SECTIONS:
        define_section(section, flag_values)


def build_config(flag_values: flags.FlagValues) -> TeachConfig:
    """Makes the settings from the parsed flags.

    Args:
        flag_values: the parsed flags.

    Raises:
        KgraftError: a flag is missing or its value is out of range.
    """
    values: dict[str, Any] = {}
    for section in SECTIONS:
        values |= read_section(section, flag_values)
    return TeachConfig(**values)


def execute(config: TeachConfig) -> None:
    """Trains the teacher; progress and result are printed as they come.

    Args:
        config: the settings.

    Raises:
        KgraftError: the input cannot be worked with.
    """
    # Late, because this loads TensorFlow and --help must not wait for it.
    from kgraft.teach import teach

    teach(config, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
