"""A run's settings as the lines of a flagfile that kgraft-distill reads back to the same run."""

import dataclasses
from typing import Any

from kgraft.config import FLAG_NAMES, RunConfig


def flag_lines(config: RunConfig) -> list[str]:
    """Returns every setting of a run as a flag, one a line.

    Args:
        config: the settings.
    """
    lines: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names = FLAG_NAMES.get(type(value), {})
            for part in dataclasses.fields(value):
                name = names.get(part.name, part.name)
                lines.append(f"--{name}={_text(getattr(value, part.name))}")
        elif field.name != "resume":
            lines.append(f"--{field.name}={_text(value)}")
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(str(part) for part in value)
    return str(value)
