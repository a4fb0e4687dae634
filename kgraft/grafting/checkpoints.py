"""The weights of finished phases on disk: for a run that was stopped, and for runs that share one.

`settings.json` says what run a folder belongs to. The weights before the first phase and those of
each finished phase are an `.npz` file and, written after it, a `.json` file with the result.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError
from kgraft.grafting.locks import file_lock
from kgraft.grafting.span import Student, state_variables
from kgraft.grafting.trainer import PhaseResult

START = "start"
SETTINGS = "settings.json"
_RECORD = ("name", "blocks", "result")
_SPOILT = (OSError, ValueError, KeyError, TypeError, RecursionError)


def settings_key(settings: Mapping[str, Any]) -> str:
    """Hashes settings whatever the order of their keys.

    Args:
        settings: nested plain values, as JSON knows them.

    Returns:
        A SHA-256 in hex.
    """
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _named(student: Student, blocks: Sequence[int]) -> dict[str, Any]:
    """The variables of some blocks by their place in the student, e.g. `block3.body.0`."""
    return {
        f"block{index}.{part}.{number}": variable
        for index in blocks
        for part, variables in state_variables(student[index]).items()
        for number, variable in enumerate(variables)
    }


def save_block_weights(path: Path, student: Student, blocks: Sequence[int]) -> None:
    """Writes the weights of some student blocks to an `.npz` file, which is whole or absent.

    Args:
        path: the file.
        student: one block for each of the teacher's.
        blocks: numbers of the blocks; kept ones have nothing to write.
    """
    _write_npz(path, {name: v.numpy() for name, v in _named(student, blocks).items()})


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_aside(path) as aside, open(aside, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        _flush(file)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (*_SPOILT, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> KgraftError:
    anew = f"; remove {path.stem}.json and {path.stem}.npz to do the phase anew"
    hint = "" if path.name == SETTINGS else anew
    return KgraftError(f"cannot read the checkpoint {path}: {error!r}{hint}")


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_aside(path) as aside, open(aside, "wb") as file:
        file.write(json.dumps(content, indent=1).encode())
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def result_path(folder: Path, phase: str) -> Path:
    """Returns the file that is there when a phase is finished.

    Args:
        folder: the checkpoint folder.
        phase: name of the phase, or `START`.
    """
    return folder / f"{phase.replace('/', '_')}.json"


def load_block_weights(path: Path, student: Student, blocks: Sequence[int]) -> None:
    """Reads back what `save_block_weights` wrote; changes nothing where that does not fit.

    Args:
        path: the file.
        student: one block for each of the teacher's, changed in place.
        blocks: numbers of the blocks that were written.

    Raises:
        KgraftError: the file cannot be read.
        KgraftError: it holds other variables, or of other shapes, than these blocks have.
    """
    variables, weights = _named(student, blocks), _read_npz(path)
    for name in sorted(variables.keys() | weights.keys()):
        expected = tuple(variables[name].shape) if name in variables else None
        found = weights[name].shape if name in weights else None
        if expected != found:
            raise KgraftError(f"{path}: {name} should be {expected} for this student; got {found}")
    for name, variable in variables.items():
        variable.assign(weights[name])


def read_arrays(folder: Path, name: str) -> list[np.ndarray]:
    """Reads what `Checkpoints.save_arrays` wrote.

    Args:
        folder: the checkpoint folder.
        name: of a phase that is finished.

    Raises:
        KgraftError: the file cannot be read.
    """
    weights = _read_npz(result_path(folder, name).with_suffix(".npz"))
    return [weights[key] for key in sorted(weights)]


class Checkpoints:
    """The checkpoint folder of one run, or of several processes that share it.

    What is finished is looked up each time, so that a process finds what others have done
    meanwhile. The workers of a cluster look once, when they are made: all must do the same phases.
    """

    def __init__(
        self,
        folder: Path | str,
        settings: Mapping[str, Any],
        *,
        writes: bool = True,
        cluster: bool = False,
    ) -> None:
        """Checks whose folder it is, and changes nothing.

        Args:
            folder: the folder; made at the first write.
            settings: what the weights depend on; every run in this folder must have the same.
            writes: whether this process writes, which of several workers only the chief does.
            cluster: whether several workers train each phase together.

        Raises:
            KgraftError: the folder belongs to a run of other settings.
            KgraftError: what is in it cannot be read.
        """
        self._folder = Path(folder)
        self._settings = json.loads(_canonical(settings))
        self._writes = writes
        self._seen: dict[str, Any] | None = None
        self._check_settings()
        if cluster:
            paths = [p for p in self._folder.glob("*.json") if p.name != SETTINGS]
            self._seen = {r["name"]: r for r in (_read_json(path, _RECORD) for path in paths)}

    def claim(self) -> None:
        """Makes the folder this run's own, before anything else is written to it.

        Raises:
            KgraftError: a run of other settings was faster.
        """
        path = self._folder / SETTINGS
        if self._writes and not path.exists():
            content = {"key": settings_key(self._settings), "settings": self._settings}
            _write_json(path, content)
        self._check_settings()

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: Callable[[], None] | None = None) -> Iterator[bool]:
        """Keeps other processes from doing the same piece of work at the same time.

        Args:
            name: what is done: a phase, `START`, or another name.
            wait: called before this process waits for another one; None for not to wait.

        Yields:
            Whether this process may do it. In a cluster always True: its workers do all of it
            together.
        """
        if self._seen is not None or not self._writes:
            yield True
            return
        with file_lock(result_path(self._folder, name).with_suffix(".lock"), wait=wait) as held:
            yield held

    def finished(self, phase: str) -> PhaseResult | None:
        """Returns the result of a finished phase; None for one that has to be done.

        Args:
            phase: name of the phase.

        Raises:
            KgraftError: its file cannot be read.
        """
        record = self._record(phase)
        if record is None:
            return None
        try:
            return PhaseResult(**{**record["result"], "blocks": tuple(record["blocks"])})
        except TypeError as error:
            raise _unreadable(result_path(self._folder, phase), error) from None

    def has_start(self) -> bool:
        """Returns whether the weights before the first phase were saved."""
        return self._record(START) is not None

    def save_start(self, student: Student) -> None:
        """Writes the weights before the first phase.

        Args:
            student: the whole student.
        """
        self._save(START, student, range(len(student)), None)

    def save(self, student: Student, result: PhaseResult) -> None:
        """Writes the weights and the result of a finished phase.

        Args:
            student: the whole student; only the span's blocks are written.
            result: the phase's result.
        """
        self._save(result.name, student, result.blocks, dataclasses.asdict(result))

    def restore(self, phase: str, student: Student) -> None:
        """Puts back the weights of a finished phase.

        Args:
            phase: name of the phase, or `START`.
            student: the whole student, changed in place.

        Raises:
            KgraftError: the phase is not finished, or its file does not fit the student.
        """
        record = self._record(phase)
        if record is None:
            raise KgraftError(f"no checkpoint of {phase} in {self._folder}")
        weights = result_path(self._folder, phase).with_suffix(".npz")
        load_block_weights(weights, student, record["blocks"])

    def save_arrays(self, name: str, arrays: Sequence[np.ndarray], result: PhaseResult) -> None:
        """Writes the result of a phase that trained something else than student blocks.

        Args:
            name: what `finished` and `arrays` find it by.
            arrays: its weights.
            result: what it did.
        """
        if not self._writes:
            return
        self.claim()
        path = result_path(self._folder, name)
        _write_npz(path.with_suffix(".npz"), {f"{i:05}": a for i, a in enumerate(arrays)})
        self._write_record(path, name, result.blocks, dataclasses.asdict(result))

    def arrays(self, name: str) -> list[np.ndarray]:
        """Reads what `save_arrays` wrote.

        Args:
            name: of a phase that is finished.

        Raises:
            KgraftError: the file cannot be read.
        """
        return read_arrays(self._folder, name)

    def _save(
        self, name: str, student: Student, blocks: Sequence[int], result: dict[str, Any] | None
    ) -> None:
        if not self._writes:
            return
        self.claim()
        path = result_path(self._folder, name)
        save_block_weights(path.with_suffix(".npz"), student, blocks)
        self._write_record(path, name, blocks, result)

    def _write_record(
        self, path: Path, name: str, blocks: Sequence[int], result: dict[str, Any] | None
    ) -> None:
        # The result comes last: a run killed before it does the phase again.
        values = (name, list(blocks), result)
        _write_json(path, dict(zip(_RECORD, values, strict=True)))

    def _record(self, name: str) -> dict[str, Any] | None:
        if self._seen is not None:
            return self._seen.get(name)
        path = result_path(self._folder, name)
        return _read_json(path, _RECORD) if path.exists() else None

    def _check_settings(self) -> None:
        path = self._folder / SETTINGS
        if not path.exists():
            return
        content = _read_json(path, ("key", "settings"))
        if content["key"] != settings_key(self._settings):
            difference = ", ".join(differences(content["settings"], self._settings))
            raise KgraftError(f"{self._folder} belongs to a run of other settings: {difference}")


def _read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        return {key: content[key] for key in keys}
    except _SPOILT as error:
        raise _unreadable(path, error) from None


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Says which settings are not the same, one `name was x, now y` each.

    Args:
        old: plain values, as JSON gives them.
        new: the same.
        path: dotted name of what is compared.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            text
            for key in keys
            for text in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path} was {old!r}, now {new!r}"]
