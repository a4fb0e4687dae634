"""The work folder of a run."""

import dataclasses
import pathlib
import re
import tempfile

import keras

from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError
from kgraft.export import EXPORTS, check_folder
from kgraft.pipeline.stopwatch import tell
from kgraft.report import JSON_NAME, MARKDOWN_NAME

CHECKPOINTS = "checkpoints"
STUDENT = "student.keras"
TENSORBOARD = "tensorboard"
TRANSFER = "transfer.json"
# Output of a run that a scheduler or a shell sends into its folder, and what a disk begins with.
_LOGS = re.compile(r".*\.(log|out|err|txt|[oe]\d+)|lost\+found")


@dataclasses.dataclass(frozen=True)
class Kind:
    """What tells the work folders of a command from other folders.

    Attributes:
        command: its name.
        marks: names that nothing but its work folders is taken to have; the first is for messages.
        others: what else may be there without them.
    """

    command: str
    marks: tuple[str, ...]
    others: tuple[str, ...] = ()


_RUN = Kind(
    "kgraft-distill",
    (CHECKPOINTS,),
    (TRANSFER, STUDENT, EXPORTS, TENSORBOARD, JSON_NAME, MARKDOWN_NAME),
)


def check_workdir(
    path: pathlib.Path, *, resume: bool, shared: bool = False, kind: Kind = _RUN
) -> None:
    """Checks that a run may write to a folder, and changes nothing.

    Args:
        path: the folder; need not exist.
        resume: whether the run goes on from what is there.
        shared: whether other runs may be at work in it, which have made its checkpoint folder.
        kind: whose work folder it is to be.

    Raises:
        KgraftError: its name is not UTF-8, it is no folder, cannot be written to, or has files and
            the run neither resumes nor shares them.
        KgraftError: the run is to go on in a folder of other things.
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
    if resume:
        _check_kind(path, kind)
    _check_writable(path)
    check_folder(path / EXPORTS)


def _check_kind(path: pathlib.Path, kind: Kind) -> None:
    """Refuses to go on in a folder in which files of other things would be replaced."""
    if not path.exists() or any((path / mark).exists() for mark in kind.marks):
        return
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    strange = [name for name in names if name not in kind.others and not _LOGS.fullmatch(name)]
    if strange:
        raise KgraftError(
            f"--workdir must be new, empty or the folder of a run of {kind.command} that was "
            f"stopped; {path} has no {kind.marks[0]} and holds {strange[0]!r}: give another folder"
        )


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
    """Writes a `.keras` file that is whole or absent."""
    with writing_aside(path) as aside:
        model.save(aside)
