"""Flags made from config dataclasses: names, types and defaults come from the fields.

A command lists its sections; the dataclasses stay the one place where a default is written and a
value is checked.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from absl import flags

from kgraft.checks import with_home
from kgraft.data_config import AUTO
from kgraft.errors import KgraftError

NOTHING = ("", "none")
SWITCHES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclasses.dataclass(frozen=True)
class Section:
    """The flags of one config dataclass, or of some of its fields.

    Attributes:
        title: heading in `--help`.
        config: the dataclass.
        helps: help text of each field that is a flag, in the order to show them.
        names: flag names of the fields whose flag is named differently.
    """

    title: str
    config: type
    helps: Mapping[str, str]
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def flag(self, field: str) -> str:
        """Returns the flag's name of a field."""
        return self.names.get(field, field)


def define_section(section: Section, flag_values: flags.FlagValues) -> None:
    """Defines one flag for each field that the section describes.

    Args:
        section: the fields and their help texts.
        flag_values: where the flags are defined.

    Raises:
        KeyError: a field's type has no flag parser.
    """
    types = typing.get_type_hints(section.config)
    fields = {field.name: field for field in dataclasses.fields(section.config)}
    for name, text in section.helps.items():
        default = fields[name].default
        default = None if default is dataclasses.MISSING else default
        flag = flags.Flag(
            PARSERS[types[name]],
            None,
            section.flag(name),
            default,
            text,
            boolean=types[name] is bool,
        )
        flags.DEFINE_flag(flag, flag_values, module_name=section.title)


def read_section(section: Section, flag_values: flags.FlagValues) -> dict[str, Any]:
    """Returns the parsed values of a section, as keyword arguments of its dataclass.

    Args:
        section: the section that was defined.
        flag_values: the parsed flags.

    Raises:
        KgraftError: a flag without a default was not given.
    """
    values = {}
    required = {
        field.name
        for field in dataclasses.fields(section.config)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    for name in section.helps:
        flag = flag_values[section.flag(name)]
        if name in required and flag.value is None:
            raise KgraftError(f"--{flag.name} is missing: {flag.help}")
        values[name] = flag.value
    return values


class FieldParser(flags.ArgumentParser):
    """Turns a flag's text into a field's value.

    Attributes:
        expected: what a right value is, for the error message.
    """

    def __init__(self, convert: Callable[[str], Any], expected: str) -> None:
        self._convert = convert
        self.expected = expected

    def parse(self, argument: Any) -> Any:
        """Returns the value of a flag's text; a default that is already a value stays as it is.

        Args:
            argument: the text after `--name=`, or the field's default.

        Raises:
            ValueError: the text is not what is expected.
        """
        if not isinstance(argument, str):
            return argument
        try:
            return self._convert(argument.strip())
        except ValueError as error:
            raise ValueError(f"expected {self.expected}") from error

    def flag_type(self) -> str:
        """Returns what a right value is."""
        return self.expected


def _finite(argument: str) -> float:
    value = float(argument)
    if not math.isfinite(value):
        raise ValueError
    return value


def _switch(argument: str) -> bool:
    if argument.lower() not in SWITCHES:
        raise ValueError
    return SWITCHES[argument.lower()]


def _names(argument: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in argument.split(",")) if argument else ()
    if not all(names):
        raise ValueError
    return names


def _count_or_names(argument: str) -> int | tuple[str, ...]:
    if argument.lstrip("+-").isdecimal():
        return int(argument)
    names = _names(argument)
    if not names:
        raise ValueError
    return names


def _count_or_auto(argument: str) -> int | str:
    return AUTO if argument.lower() == AUTO else int(argument)


def _counts(argument: str) -> tuple[int, ...]:
    return tuple(int(part) for part in argument.split(","))


def _steps(argument: str) -> tuple[int, ...]:
    counts = _counts(argument)
    return counts if len(counts) > 1 else counts * 2


def _rates(argument: str) -> float | tuple[float, ...]:
    rates = tuple(_finite(part) for part in argument.split(","))
    return rates if len(rates) > 1 else rates[0]


def _optional(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda argument: None if argument.lower() in NOTHING else convert(argument)


PARSERS: dict[Any, FieldParser] = {
    bool: FieldParser(_switch, "true or false"),
    # No shell expands a ~ behind an equals sign.
    str: FieldParser(with_home, "text"),
    str | None: FieldParser(_optional(with_home), "text, or none"),
    int: FieldParser(int, "a whole number"),
    int | None: FieldParser(_optional(int), "a whole number, or none"),
    int | Literal["auto"]: FieldParser(_count_or_auto, "a whole number, or auto"),
    float: FieldParser(_finite, "a finite number"),
    float | None: FieldParser(_optional(_finite), "a finite number, or none"),
    tuple[str, ...]: FieldParser(_names, "names separated by commas"),
    tuple[str, ...] | int: FieldParser(
        _count_or_names, "a whole number, or names separated by commas"
    ),
    tuple[int, int] | tuple[int, ...]: FieldParser(
        _steps, "one whole number, or two separated by a comma, or one for each phase"
    ),
    float | tuple[float, ...]: FieldParser(
        _rates, "a finite number, or one for each replaced block separated by commas"
    ),
    tuple[int, ...]: FieldParser(_counts, "whole numbers separated by commas"),
}
