"""kgraft-export: a finished work folder in, its student exported again, verified."""

import time
from typing import NoReturn

from absl import flags

from kgraft.cli import distill_flags, entry
from kgraft.cli.config_flags import Section, define_section, read_section
from kgraft.cli.distill import written
from kgraft.config import ExportConfig
from kgraft.pipeline.reexport_config import ReexportConfig
from kgraft.pipeline.stopwatch import Stopwatch

_BEGAN = time.monotonic()

ABOUT = (
    "Exports the student of a finished run of kgraft-distill again, in other formats or another "
    "form, calibrated on the transfer images of the run. Each file is verified and measured as in "
    "the run. The export folder is replaced as a whole; kgraft-export adds its report to it."
)

RUN = Section(
    "finished run",
    ReexportConfig,
    {
        "workdir": "work folder of a finished run of kgraft-distill",
        "output": "the export folder to write; none for export/ in --workdir",
        "dataset": "where the transfer images of the run lie now, in the form of kgraft-distill's "
        "--dataset; none for where they lay",
        "data_dir": "folder of prepared TFDS data; none for the run's",
        "eval_dataset": "labelled test images; none for the run's, off for no test set",
        "eval_split": "part of the data set to test on; none for the run's",
        "eval_data_dir": "folder of prepared TFDS data of the test set; none for the run's",
    },
)


def main() -> NoReturn:
    """Runs the command on `sys.argv`.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    entry.run(
        "kgraft-export",
        define_flags,
        build_config,
        execute,
        about=ABOUT,
        on_interrupt="an export folder is whole or not there",
    )


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        flag_values: where the flags are defined.
    """
    define_section(RUN, flag_values)
    define_section(distill_flags.EXPORT, flag_values)


def build_config(flag_values: flags.FlagValues) -> ReexportConfig:
    """Makes the settings from the parsed flags.

    Args:
        flag_values: the parsed flags.

    Raises:
        KgraftError: a value is missing or not valid; the message names the flag.
    """
    export = ExportConfig(**read_section(distill_flags.EXPORT, flag_values))
    return ReexportConfig(export=export, **read_section(RUN, flag_values))


def execute(config: ReexportConfig) -> None:
    """Exports, then prints the table of the report and what was written.

    Args:
        config: the settings.

    Raises:
        KgraftError: the input cannot be worked with, or a file failed its verification.
    """
    # Late, because this loads TensorFlow and --help must not wait for it.
    from kgraft.export import check_verified
    from kgraft.pipeline.reexport import export_again
    from kgraft.report import format_table

    report, folder = export_again(config, Stopwatch(_BEGAN))
    print(format_table(report.models))
    print(f"\nwritten to {folder}:")
    print("\n".join(written(folder)))
    check_verified(report.verification)


if __name__ == "__main__":
    main()
