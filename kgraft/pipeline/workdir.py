"""The work folder of a run."""

import os
import pathlib
import tempfile

import keras

from kgraft.errors import KgraftError
from kgraft.export import EXPORTS, check_folder
from kgraft.pipeline.stopwatch import tell

CHECKPOINTS = "checkpoints"
STUDENT = "student.keras"
TRANSFER = "transfer.json"


def check_workdir(path: pathlib.Path, *, resume: bool, shared: bool = False) -> None:
    """Checks that a run may write to a folder, and changes nothing.

    Args:
        path: the folder; need not exist.
        resume: whether the run goes on from what is there.
        shared: whether other runs may be at work in it, which have made its checkpoint folder.

    Raises:
        KgraftError: its name is not UTF-8, it is no folder, cannot be written to, or has files and
            the run neither resumes nor shares them.
        KgraftError: the run is to go on from one that has finished and whose checkpoints are gone.
        KgraftError: its export folder, which the run will replace, holds other things.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:  # LiteRT and Keras take paths as UTF-8.
        raise KgraftError(f"--workdir must be a name in UTF-8; got {str(path)!r}") from None
    if path.exists() and not path.is_dir():
        raise KgraftError(f"--workdir must be a folder; {path} is a file")
    welcome = resume or (shared and (path / CHECKPOINTS).is_dir())
    if not welcome and path.exists() and any(path.iterdir()):
        raise KgraftError(
            f"--workdir must be new or empty; {path} has files: give another folder, or, "
            "if a run was stopped there, --resume to go on with it"
        )
    if resume and (path / STUDENT).exists() and not (path / CHECKPOINTS).is_dir():
        raise KgraftError(
            f"--resume: {path} has a finished run and no {CHECKPOINTS}/, without which nothing is "
            "known of its phases: kgraft-export makes files in other formats of its student; give "
            "another folder to train anew"
        )
    _check_writable(path)
    check_folder(path / EXPORTS)


def tell_of_nothing_to_resume(path: pathlib.Path) -> None:
    """Tells a user who asked to resume that a work folder has nothing, such as one mistyped."""
    if not (path.exists() and any(path.iterdir())):
        tell(f"--resume: there is nothing in {path} to go on with; starting from the beginning")


def _check_writable(path: pathlib.Path) -> None:
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise KgraftError(
            f"--workdir must be a folder that can be written to; {path}: {error.strerror or error}"
        ) from None


def start_workdir(path: pathlib.Path) -> None:
    """Makes a checked work folder, after all input has been found good.

    Raises:
        KgraftError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KgraftError(f"--workdir={path} cannot be made: {error.strerror or error}") from None


def save_model(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a `.keras` file aside and then renames it, so that it is whole or absent."""
    aside = path.with_name(f".partial_{path.name}")
    model.save(aside)
    os.replace(aside, path)
