"""kgraft-distill: a teacher and a few unlabelled images in, a verified small student out."""

import pathlib
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from absl import flags

from kgraft.cli import distill_flags, entry
from kgraft.config import RunConfig
from kgraft.pipeline.plan import plan_phases
from kgraft.pipeline.stopwatch import Stopwatch

# As good as the beginning of the process: nothing slow is imported before.
_BEGAN = time.monotonic()

ABOUT = (
    "Distills a small student from a trained Keras model with a few unlabelled images, by "
    "progressive network grafting, and writes it as Keras, SavedModel and TFLite files, each "
    "verified. Try it with --teacher=embedded:fashion_mnist --dataset=embedded:fashion_mnist "
    "--eval_dataset=embedded:fashion_mnist, or from a checkout with "
    "--flagfile=configs/fashion_mnist.flags."
)


def main() -> NoReturn:
    """Runs the command on `sys.argv`.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    entry.run(
        "kgraft-distill",
        distill_flags.define_flags,
        build_config,
        execute,
        about=ABOUT,
        outline=outline,
    )


def build_config(flag_values: flags.FlagValues) -> RunConfig:
    """Makes the config of a run and checks what it says of blocks and phases.

    Args:
        flag_values: the parsed flags.

    Raises:
        KgraftError: a value is missing or not valid; the message names the flag.
    """
    config = distill_flags.build_config(flag_values)
    plan_phases(config)
    return config


def outline(config: RunConfig) -> str:
    """Returns the phases of a run, one a line with its number, as comments of a flagfile.

    Args:
        config: the settings of the run.
    """
    spans = plan_phases(config)
    lines = [f"#   {number} {span.name}" for number, span in enumerate(spans)]
    if isinstance(config.teacher.cuts, int):
        lines.append("#   fewer where the teacher has fewer blocks with multiply-adds")
    return "\n".join(["# phases, for --phases:", *lines])


def execute(config: RunConfig) -> None:
    """Distills, then prints the table of the report and what was written.

    Args:
        config: the settings of the run.

    Raises:
        KgraftError: the input cannot be worked with.
    """
    # Late, because this loads TensorFlow and --help must not wait for it.
    from kgraft import api

    result = api.run(config, Stopwatch(_BEGAN))
    if result is None:
        print("trained; the chief of the cluster writes the results")
        return
    if isinstance(result, api.Unfinished):
        print(progress(result.phases, sys.argv[1:]))
        return
    print(result.table)
    print(f"\nwritten to {result.workdir}:")
    print("\n".join(written(pathlib.Path(result.workdir))))


def progress(phases: Mapping[str, bool], arguments: Sequence[str]) -> str:
    """Returns which phases are finished, and the command that goes on from there.

    Args:
        phases: every phase by name, and whether it is finished.
        arguments: the command line of this run.
    """
    lines = [
        f"{number:>3} {name:<20} {'finished' if finished else 'left'}"
        for number, (name, finished) in enumerate(phases.items())
    ]
    going_on = shlex.join(["kgraft-distill", *_without_phases(arguments), "--resume"])
    work = "trains what is left and writes" if not all(phases.values()) else "writes"
    return "\n".join([*lines, "", f"this {work} the student and the report:", f"  {going_on}"])


def _without_phases(arguments: Sequence[str]) -> list[str]:
    rest, skip = [], False
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        if not skip and name != "phases":
            rest.append(argument)
        skip = name == "phases" and not equals and not skip
    # A list in a flagfile is outdone by a later flag.
    return [*rest, "--phases=all"] if any("flagfile" in a for a in rest) else rest


def written(workdir: pathlib.Path) -> list[str]:
    """Returns one line for each file and folder in the work folder, with its size.

    Args:
        workdir: the work folder of a finished run.
    """
    lines = []
    for path in sorted(workdir.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
        kilobytes = sum(part.stat().st_size for part in files) / 1000
        lines.append(f"  {kilobytes:>12,.1f} kB  {path}{'/' if path.is_dir() else ''}")
    return lines


if __name__ == "__main__":
    main()
