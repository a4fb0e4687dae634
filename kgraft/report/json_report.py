"""The report as strict JSON, for programs."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from kgraft.report.records import SCHEMA, RunReport


def to_json(report: RunReport) -> str:
    """Renders the report as JSON.

    Args:
        report: the run's report.

    Returns:
        An object with `schema` and one key per attribute of `RunReport`; a number that is not
        finite becomes null, as JSON has no word for it.
    """
    return json.dumps({"schema": SCHEMA, **plain(report)}, indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Turns a record into what JSON can hold.

    Args:
        value: dataclasses, mappings, sequences, numpy values, paths and plain values, nested.

    Returns:
        The same in dicts, lists, strings, numbers, booleans and None.

    Raises:
        TypeError: a value is of another kind.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"the report cannot hold a {type(value).__name__}: {value!r}")
