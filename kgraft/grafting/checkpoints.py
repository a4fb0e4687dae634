"""The weights of finished phases on disk, so that a stopped run goes on at the next phase."""

import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kgraft.errors import KgraftError
from kgraft.grafting.span import Student, state_variables
from kgraft.grafting.trainer import PhaseResult

START = "start"
_MANIFEST = "manifest.json"


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


def _write_aside(path: Path, data: bytes) -> None:
    """Puts a whole file in place or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def _named(student: Student, blocks: Sequence[int]) -> dict[str, Any]:
    """The variables of some blocks by their place in the student, e.g. `block3.body.0`."""
    return {
        f"block{index}.{part}.{number}": variable
        for index in blocks
        for part, variables in state_variables(student[index]).items()
        for number, variable in enumerate(variables)
    }


def save_block_weights(path: Path, student: Student, blocks: Sequence[int]) -> None:
    """Writes the weights of some student blocks to an `.npz` file, aside and then renamed.

    Args:
        path: the file.
        student: one block for each of the teacher's.
        blocks: numbers of the blocks; kept ones have nothing to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with open(aside, "wb") as file:
        np.savez(file, **{name: v.numpy() for name, v in _named(student, blocks).items()})
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


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
    variables = _named(student, blocks)
    try:
        with np.load(path) as file:
            weights = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise KgraftError(f"cannot read the checkpoint {path}: {error}") from None
    for name in sorted(variables.keys() | weights.keys()):
        expected = tuple(variables[name].shape) if name in variables else None
        found = weights[name].shape if name in weights else None
        if expected != found:
            raise KgraftError(f"{path}: {name} should be {expected} for this student; got {found}")
    for name, variable in variables.items():
        variable.assign(weights[name])


class Checkpoints:
    """The checkpoint folder of one run."""

    def __init__(
        self, folder: Path | str, settings: Mapping[str, Any], *, writes: bool = True
    ) -> None:
        """Reads the manifest of a stopped run, or prepares a new one.

        Args:
            folder: the folder; made at the first write.
            settings: what the weights depend on; a resumed run must have the same.
            writes: whether this process writes, which of several workers only the chief does.

        Raises:
            KgraftError: the folder belongs to a run of other settings.
            KgraftError: the manifest cannot be read.
        """
        self._folder = Path(folder)
        self._settings = json.loads(_canonical(settings))
        self._writes = writes
        self._phases: dict[str, dict[str, Any]] = {}
        if (self._folder / _MANIFEST).exists():
            self._read_manifest()

    def finished(self, phase: str) -> PhaseResult | None:
        """Returns the result of a finished phase; None for one that has to be done.

        Args:
            phase: name of the phase.
        """
        record = self._phases.get(phase, {}).get("result")
        return PhaseResult(**{**record, "blocks": tuple(record["blocks"])}) if record else None

    def has_start(self) -> bool:
        """Returns whether the weights before the first phase were saved."""
        return START in self._phases

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
        if phase not in self._phases:
            raise KgraftError(f"no checkpoint of {phase} in {self._folder}")
        record = self._phases[phase]
        load_block_weights(self._folder / record["file"], student, record["blocks"])

    def _save(
        self, name: str, student: Student, blocks: Sequence[int], result: dict[str, Any] | None
    ) -> None:
        file = name.replace("/", "_") + ".npz"
        self._phases[name] = {"file": file, "blocks": list(blocks), "result": result}
        if not self._writes:
            return
        save_block_weights(self._folder / file, student, blocks)
        # The manifest comes last: a run killed before it does the phase again.
        content = {
            "key": settings_key(self._settings),
            "settings": self._settings,
            "phases": self._phases,
        }
        _write_aside(self._folder / _MANIFEST, json.dumps(content, indent=1).encode())

    def _read_manifest(self) -> None:
        path = self._folder / _MANIFEST
        try:
            content = json.loads(path.read_text())
            key, settings, phases = content["key"], content["settings"], content["phases"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KgraftError(f"cannot read the checkpoint manifest {path}: {error}") from None
        if key != settings_key(self._settings):
            difference = ", ".join(_differences(settings, self._settings))
            raise KgraftError(f"{self._folder} belongs to a run of other settings: {difference}")
        self._phases = phases


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Says which settings are not the same, one `name was x, now y` each."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            text
            for key in keys
            for text in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path} was {old!r}, now {new!r}"]
