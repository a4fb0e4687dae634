"""kgraft-compare: rival methods and ours on the same teacher, images and budget."""

from typing import NoReturn

from absl import flags

from kgraft.cli import distill_flags, entry
from kgraft.cli.config_flags import Section, define_section, read_section
from kgraft.comparison.config import METHODS, CompareConfig
from kgraft.errors import KgraftError

ABOUT = (
    "Runs rival methods of few-shot distillation and ours with every number of shots on several "
    "few-shot draws: same teacher, same images, same student architecture, same budget. Prints "
    "mean and spread and writes them as Markdown, JSON and a picture. Takes every flag of "
    "kgraft-distill, so that its flagfiles work too; --shots_list takes the place of --shots, and "
    "nothing is exported."
)

COMPARISON = Section(
    "comparison",
    CompareConfig,
    {
        "methods": f"methods to compare: {', '.join(METHODS)}",
        "shots_list": "transfer images per class, one or more numbers; takes the place of --shots",
        "draws": "few-shot draws; draw i has the seed --seed + i",
    },
)


def main() -> NoReturn:
    """Runs the command on `sys.argv`.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    entry.run("kgraft-compare", define_flags, build_config, execute, about=ABOUT)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        flag_values: where the flags are defined.
    """
    define_section(COMPARISON, flag_values)
    distill_flags.define_flags(flag_values)


def build_config(flag_values: flags.FlagValues) -> CompareConfig:
    """Makes the settings from the parsed flags.

    Args:
        flag_values: the parsed flags.

    Raises:
        KgraftError: a value is missing or not valid; the message names the flag.
    """
    run = distill_flags.build_config(flag_values)
    return CompareConfig(run, **read_section(COMPARISON, flag_values))


def execute(config: CompareConfig) -> None:
    """Runs the cells that have no record yet, then prints the tables and what was written.

    Args:
        config: the settings.

    Raises:
        KgraftError: the input cannot be worked with, or cells failed.
    """
    # Late, because this loads TensorFlow and --help must not wait for it.
    from kgraft.comparison.run import compare

    found = compare(config)
    print(found.table)
    files = "compare.md, compare.json, compare.svg, compare.png, cells/"
    print(f"\nwritten to {found.workdir}: {files}")
    if found.failed:
        first = found.failed[0]
        raise KgraftError(
            f"{len(found.failed)} cells failed, first {first.method}, {first.shots}-shot, draw "
            f"{first.draw}: {first.error}; the same command with --resume tries them again"
        )


if __name__ == "__main__":
    main()
