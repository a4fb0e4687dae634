"""The state of a training after an epoch: one file, replaced as a whole."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError

FILE = "checkpoint.npz"
# The one of the settings that is no flag: a hash of the labels and the names of their classes.
DATA = "data_sha256"


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that the next epoch depends on.

    Attributes:
        weights: the model's variables, in its order.
        optimizer: the optimiser's variables, in its order.
        history: one record for each finished epoch.
        seconds: seconds of training so far.
    """

    weights: tuple[np.ndarray, ...]
    optimizer: tuple[np.ndarray, ...]
    history: tuple[dict[str, float], ...]
    seconds: float


def save_state(
    state: TrainingState, workdir: pathlib.Path, *, settings: dict[str, Any], output: str = ""
) -> None:
    """Writes the state aside, then puts it in the place of the former one.

    Args:
        state: the state after a finished epoch.
        workdir: folder of the training.
        settings: what a later `load_state` must be asked with.
        output: the file that the training ends with, which it may replace.
    """
    note = {
        "settings": settings,
        "output": output,
        "history": state.history,
        "seconds": state.seconds,
    }
    arrays = {f"weights/{n}": array for n, array in enumerate(state.weights)}
    arrays |= {f"optimizer/{n}": array for n, array in enumerate(state.optimizer)}
    with writing_aside(workdir / FILE) as aside, aside.open("wb") as file:
        np.savez(file, note=np.array(json.dumps(note)), **arrays)


def load_state(workdir: pathlib.Path, *, settings: dict[str, Any]) -> TrainingState | None:
    """Reads the state of the last finished epoch.

    Args:
        workdir: folder of the training.
        settings: settings of the training that wants to go on.

    Returns:
        The state, or None where no epoch was finished.

    Raises:
        KgraftError: the file is of a training with other settings.
        KgraftError: the file cannot be read.
    """
    path = workdir / FILE
    if not path.exists():
        return None
    with _opened(path) as (file, note):
        weights, optimizer = (_numbered(file, part) for part in ("weights", "optimizer"))
        found = dict(note["settings"])
        state = TrainingState(weights, optimizer, tuple(note["history"]), float(note["seconds"]))
    _check_same(found, settings, path)
    return state


def load_output(workdir: pathlib.Path) -> str:
    """Reads which file the training of a folder ends with.

    Args:
        workdir: folder of the training.

    Returns:
        Its path; empty where no epoch was finished, and for trainings of before it was kept.

    Raises:
        KgraftError: the file cannot be read.
    """
    path = workdir / FILE
    if not path.exists():
        return ""
    with _opened(path) as (_, note):
        return str(note.get("output", ""))


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[np.lib.npyio.NpzFile, dict[str, Any]]]:
    """Opens a state with its note; whatever goes wrong in reading it is one error."""
    try:
        with np.load(path) as file:
            yield file, json.loads(str(file["note"]))
    except Exception as error:  # A damaged archive raises most kinds of error.
        reason = str(error) or type(error).__name__
        raise KgraftError(f"cannot read {path}: remove it to start anew ({reason})") from error


def _numbered(file: np.lib.npyio.NpzFile, part: str) -> tuple[np.ndarray, ...]:
    count = sum(name.startswith(f"{part}/") for name in file.files)
    return tuple(file[f"{part}/{n}"] for n in range(count))


def _check_same(found: dict[str, Any], wanted: dict[str, Any], path: pathlib.Path) -> None:
    for name, value in json.loads(json.dumps(wanted)).items():
        # Trainings of before it was kept have none of it.
        if found.get(name) == value or (name == DATA and name not in found):
            continue
        if name == DATA:
            raise KgraftError(
                f"{path} is of a training on other labels or classes: resume with the data set as "
                "it was then, or choose another --workdir"
            )
        raise KgraftError(
            f"{path} is of a training with --{name}={found.get(name)}, not {value}: resume "
            f"with the same settings, or choose another --workdir"
        )
