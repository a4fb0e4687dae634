"""A finished run read back from its work folder."""

import dataclasses
import json
import pathlib
from typing import Any

import keras

from kgraft.compress_config import UNCOMPRESSED, CompressConfig
from kgraft.config import DataConfig
from kgraft.data.preprocess import normalization
from kgraft.errors import KgraftError
from kgraft.export import EXPORTS, LABELS_NAME
from kgraft.pipeline.workdir import CHECKPOINTS, STUDENT, TRANSFER
from kgraft.report import JSON_NAME
from kgraft.zoo import load_teacher

_WANTED = "--workdir must be the work folder of a finished run of kgraft-distill"


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a finished run left behind.

    Attributes:
        model: the fused student.
        data: the settings of its images.
        preprocess: name of what turns pixels into the student's input.
        sha256: hash of the list of its transfer images.
        pixels_sha256: hash of the images themselves; empty for a run of an older version.
        compress: how the student was compressed.
    """

    model: keras.Model
    data: DataConfig
    preprocess: str
    sha256: str
    pixels_sha256: str
    compress: CompressConfig = UNCOMPRESSED


def read_finished(workdir: pathlib.Path) -> FinishedRun:
    """Reads a work folder.

    Args:
        workdir: the folder.

    Raises:
        KgraftError: it is no folder, or not that of a run, or of one that is not finished.
        KgraftError: a file in it cannot be read, or is of another version of kgraft.
    """
    if not workdir.is_dir():
        raise KgraftError(f"{_WANTED}; {workdir} is no folder")
    for name in (TRANSFER, STUDENT, JSON_NAME):
        if not (workdir / name).is_file():
            unfinished = (workdir / CHECKPOINTS).is_dir()
            raise KgraftError(
                f"{_WANTED}; {workdir} has no {name}"
                + (": finish it by kgraft-distill with --resume" if unfinished else "")
            )
    report, drawn = _read_json(workdir / JSON_NAME), _read_json(workdir / TRANSFER)
    try:
        data = DataConfig(**report["flags"]["data"])
        preprocess, sha256 = report["flags"]["teacher"]["preprocess"], drawn["sha256"]
        normalization(preprocess)
        compress = CompressConfig(**report["flags"].get("compress", {}))
    except (KeyError, TypeError, AttributeError) as error:
        raise KgraftError(
            f"{workdir / JSON_NAME} is not of this version of kgraft: {error}"
        ) from error
    data = _with_labels(data, workdir)
    return FinishedRun(
        model=_load(workdir / STUDENT),
        data=data,
        preprocess=preprocess,
        sha256=sha256,
        pixels_sha256=drawn.get("pixels_sha256", ""),
        compress=compress,
    )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KgraftError(f"{_WANTED}; {path} cannot be read: {error}") from error


def _load(path: pathlib.Path) -> keras.Model:
    try:
        return load_teacher(str(path)).model
    except KgraftError as error:
        raise KgraftError(f"{_WANTED}; {error}") from error


def _with_labels(data: DataConfig, workdir: pathlib.Path) -> DataConfig:
    """The names that the run found out, whatever has become of the file they were given in."""
    labels = workdir / EXPORTS / LABELS_NAME
    return dataclasses.replace(data, labels=str(labels)) if labels.is_file() else data
