"""kgraft-tune: a search over graft schedules with Keras Tuner."""

from typing import NoReturn

from absl import flags

from kgraft.cli import distill_flags, entry
from kgraft.cli.config_flags import Section, define_section, read_section
from kgraft.errors import KgraftError
from kgraft.tuning.config import OBJECTIVES, PRUNES, TUNERS, TuneConfig

ABOUT = (
    "Searches with Keras Tuner for the graft schedule that makes the best student within bounds on "
    "its latency, bytes and multiply-adds, without test images, and without labels unless "
    "--val_dataset names some. Takes every flag of kgraft-distill as the starting point, so that "
    "its flagfiles work too; --space says what is varied. Writes search.json, pictures and "
    "best.flags, which kgraft-distill runs to the best student."
)

SPACE = Section(
    "search space",
    TuneConfig,
    {
        "space": "Python file that sets SPACE, such as configs/search/fashion_mnist.py; none "
        "where --vary says all",
        "vary": "parameters on the command line, NAME=a|b|c, NAME=0.3..0.9:0.05 (with a step) or "
        "NAME=1e-4..1e-2:log, separated by commas; block1, block1_ratio and "
        "block1_rate are those of the second block",
    },
)

SEARCH = Section(
    "search",
    TuneConfig,
    {
        "tuner": f"what chooses the trials: {', '.join(TUNERS)}",
        "trials": "how many trials; with --resume more than before goes on",
        "prune": f"candidates that are not trained, by their closed form: {', '.join(PRUNES)}",
        "block_cache": "keep trained blocks for other trials of this work folder",
        "judge_views": "further views of each transfer image that students are judged on",
    },
)

GOALS = Section(
    "what is sought",
    TuneConfig,
    {
        "objective": f"quality of a student: {', '.join(OBJECTIVES)}; the last is that on "
        "--val_dataset, the others need no labels",
        "max_latency": "most milliseconds as a share of the teacher's, such as 0.4; none for any",
        "max_bytes": "most bytes of the float32 file, likewise",
        "max_macs": "most multiply-adds, likewise",
        "min_accuracy": "least share of the images of --val_dataset classified rightly, such as "
        "0.9; none for any",
        "weigh_latency": "quality, 0 to 1, that the teacher's whole latency is worth; 0 for none",
        "weigh_bytes": "the same of its bytes",
        "weigh_macs": "the same of its multiply-adds",
    },
)

VALIDATION = Section(
    "labelled validation set of the search",
    TuneConfig,
    {
        "val_dataset": "labelled images that students may be chosen by, in the form of --dataset, "
        "apart from the transfer images and the test set; none for none, and no label is read",
        "val_split": "part of the data set to validate on",
        "val_data_dir": "folder of prepared TFDS data of the validation set; none for --data_dir",
    },
)

RESULTS = Section(
    "results of the search",
    TuneConfig,
    {
        "top": "how many of the best get a flagfile",
        "retrain": "make these as kgraft-distill does, with exports and report, after the search",
    },
)

SECTIONS = (SPACE, SEARCH, GOALS, VALIDATION, RESULTS)


def main() -> NoReturn:
    """Runs the command on `sys.argv`.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    entry.run("kgraft-tune", define_flags, build_config, execute, about=ABOUT)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        flag_values: where the flags are defined.
    """
    for section in SECTIONS:
        define_section(section, flag_values)
    distill_flags.define_flags(flag_values)


def build_config(flag_values: flags.FlagValues) -> TuneConfig:
    """Makes the settings from the parsed flags.

    Args:
        flag_values: the parsed flags.

    Raises:
        KgraftError: a value is missing or not valid; the message names the flag.
    """
    run = distill_flags.build_config(flag_values)
    own = {k: v for section in SECTIONS for k, v in read_section(section, flag_values).items()}
    return TuneConfig(run, **own)


def execute(config: TuneConfig) -> None:
    """Searches, then prints the best trials and what was written.

    Args:
        config: the settings.

    Raises:
        KgraftError: the input cannot be worked with, every trial failed, no student was found
            within the bounds, or one of the best could not be made again.
    """
    # Late, because this loads TensorFlow and --help must not wait for it.
    from kgraft.tuning.run import tune

    found = tune(config)
    if not found.table:
        print("done; the chief writes the results")
        return
    print(found.table)
    failed = [made for made in found.retrained if made.error is not None]
    for made in found.retrained:
        if made.error is not None:
            continue
        print(f"\ntrial {made.trial}, made again in {made.workdir}:\n{made.table}")
    files = "search.json, best.flags, top*.flags, front.svg, importance.svg, blocks.svg, trials/"
    print(f"\nwritten to {found.workdir}: {files}")
    if failed:
        reasons = "; ".join(f"trial {made.trial}: {made.error}" for made in failed)
        raise KgraftError(f"{len(failed)} of the best could not be made again: {reasons}")


if __name__ == "__main__":
    main()
