"""Checks of settings, each with a message that names the flag; no TensorFlow."""

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

from kgraft.errors import KgraftError

# Keras takes none that is larger.
LARGEST_SEED = 2**32 - 1
SOURCE_KINDS = ("tfds", "folder", "npz", "embedded")


def one_of(flag: str, value: str, valid: Sequence[str]) -> None:
    """Checks a setting that has few values.

    Args:
        flag: the flag's name.
        value: what came.
        valid: what may come.

    Raises:
        KgraftError: the value is not among them.
    """
    if value not in valid:
        raise KgraftError(f"--{flag} must be one of {', '.join(valid)}; got {value!r}")


def at_least(flag: str, value: float | None, low: float) -> None:
    """Checks a lower bound; None passes.

    Args:
        flag: the flag's name.
        value: what came.
        low: the smallest right value.

    Raises:
        KgraftError: the value is smaller, or not a number.
    """
    if value is None:
        return
    _number(flag, value)
    if not value >= low:
        raise KgraftError(f"--{flag} must be at least {low}; got {value}")


def whole(flag: str, value: Any) -> None:
    """Checks for a whole number; None passes.

    Args:
        flag: the flag's name.
        value: what came.

    Raises:
        KgraftError: the value is of another type.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise KgraftError(f"--{flag} must be a whole number; got {value!r}")


def check_seed(value: int) -> None:
    """Checks `--seed` for what every random generator takes.

    Args:
        value: what came.

    Raises:
        KgraftError: the value is not a whole number from 0 to 2**32 - 1.
    """
    whole("seed", value)
    if not 0 <= value <= LARGEST_SEED:
        raise KgraftError(f"--seed must be from 0 to {LARGEST_SEED}; got {value}")


def above_zero(flag: str, value: float | tuple[float, ...] | None) -> None:
    """Checks that a number, or each of several, is above 0 and finite; None passes.

    Args:
        flag: the flag's name.
        value: what came.

    Raises:
        KgraftError: one is not.
    """
    if value is None:
        return
    values = value if isinstance(value, tuple) else (value,)
    for one in values:
        _number(flag, one)
    if not min(values, default=0) > 0:
        raise KgraftError(f"--{flag} must be above 0; got {value}")
    if max(values) == math.inf:
        raise KgraftError(f"--{flag} must be finite; got {value}")


def _number(flag: str, value: Any) -> None:
    if not isinstance(value, numbers.Real):
        raise KgraftError(f"--{flag} must be a number; got {value!r}")


def check_source(flag: str, spec: str) -> None:
    """Checks the form `KIND:NAME` of a data source, without opening it.

    Args:
        flag: the flag the spec came from, for the message.
        spec: `tfds:NAME`, `folder:PATH`, `npz:PATH` or `embedded:NAME`.

    Raises:
        KgraftError: the kind is unknown or the part after the colon is empty.
    """
    kind, _, rest = spec.partition(":")
    if kind not in SOURCE_KINDS or not rest:
        raise KgraftError(
            f"--{flag} must be tfds:NAME, folder:PATH, npz:PATH or embedded:NAME; got {spec!r}"
        )


def with_home(text: str) -> str:
    """Returns a path, or a data source of a path, with `~` expanded; other text as it is."""
    kind, colon, rest = text.partition(":")
    if colon and kind in ("folder", "npz"):
        return f"{kind}:{os.path.expanduser(rest)}"
    return os.path.expanduser(text)
