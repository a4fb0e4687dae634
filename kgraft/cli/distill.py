"""kgraft-distill: a teacher and a few unlabelled images in, a verified small student out."""

import pathlib
from typing import NoReturn

from kgraft.cli import distill_flags, entry
from kgraft.config import RunConfig

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
        distill_flags.build_config,
        execute,
        about=ABOUT,
    )


def execute(config: RunConfig) -> None:
    """Distills, then prints the table of the report and what was written.

    Args:
        config: the settings of the run.

    Raises:
        KgraftError: the input cannot be worked with.
    """
    # Late, because this loads TensorFlow and --help must not wait for it.
    from kgraft import api

    result = api.distill(config)
    if result is None:
        print("trained; the chief of the cluster writes the results")
        return
    print(result.table)
    print(f"\nwritten to {result.workdir}:")
    print("\n".join(written(pathlib.Path(result.workdir))))


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
