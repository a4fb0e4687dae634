import dataclasses
from typing import Literal

import pytest
from absl import flags

from kgraft.cli import config_flags, entry
from kgraft.cli.config_flags import Section
from kgraft.errors import KgraftError


@dataclasses.dataclass(frozen=True)
class Everything:
    source: str
    folder: str | None = None
    count: int = 3
    limit: int | None = 10
    rate: float = 0.5
    cap: float | None = None
    fast: bool = False
    cuts: tuple[str, ...] | int = 5
    names: tuple[str, ...] = ("a", "b")
    steps: tuple[int, int] | tuple[int, ...] = (1, 2)
    turns: tuple[int, ...] = (1, 2, 3)
    rates: float | tuple[float, ...] = 0.5
    mixed: int | Literal["auto"] = "auto"
    hidden: int = 0


SECTION = Section(
    "everything",
    Everything,
    {
        field.name: f"the {field.name}"
        for field in dataclasses.fields(Everything)
        if field.name != "hidden"
    },
    {"count": "how_many"},
)


def parsed(*arguments):
    flag_values = flags.FlagValues()
    config_flags.define_section(SECTION, flag_values)
    entry.parse(flag_values, arguments)
    return Everything(**config_flags.read_section(SECTION, flag_values))


def test_defaults_are_those_of_the_dataclass():
    assert parsed("--source=x") == Everything("x")


def test_a_field_without_default_must_be_given():
    with pytest.raises(KgraftError, match="--source is missing: the source"):
        parsed()


@pytest.mark.parametrize(
    ("argument", "field", "value"),
    [
        ("--folder=/data", "folder", "/data"),
        ("--folder=none", "folder", None),
        ("--folder=", "folder", None),
        ("--how_many=7", "count", 7),
        ("--limit=none", "limit", None),
        ("--limit=2", "limit", 2),
        ("--rate=1e-3", "rate", 1e-3),
        ("--cap=2.5", "cap", 2.5),
        ("--cap=none", "cap", None),
        ("--fast", "fast", True),
        ("--fast=true", "fast", True),
        ("--nofast", "fast", False),
        ("--fast=0", "fast", False),
        ("--cuts=4", "cuts", 4),
        ("--cuts=-4", "cuts", -4),
        ("--cuts=add_3", "cuts", ("add_3",)),
        ("--cuts=add_3, add_7", "cuts", ("add_3", "add_7")),
        ("--names=", "names", ()),
        ("--names=x,y", "names", ("x", "y")),
        ("--steps=300", "steps", (300, 300)),
        ("--steps=300,600", "steps", (300, 600)),
        ("--steps=3,2,1", "steps", (3, 2, 1)),
        ("--turns=5", "turns", (5,)),
        ("--turns=5,6", "turns", (5, 6)),
        ("--rates=2e-3", "rates", 2e-3),
        ("--rates=1,2e-3", "rates", (1.0, 2e-3)),
        ("--mixed=7", "mixed", 7),
        ("--mixed=Auto", "mixed", "auto"),
    ],
)
def test_values(argument, field, value):
    assert getattr(parsed("--source=x", argument), field) == value


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--how_many=many", "a whole number"),
        ("--how_many=1.5", "a whole number"),
        ("--limit=few", "a whole number, or none"),
        ("--rate=fast", "a finite number"),
        ("--rate=nan", "a finite number"),
        ("--rate=inf", "a finite number"),
        ("--fast=maybe", "true or false"),
        ("--cuts=", "a whole number, or names separated by commas"),
        ("--cuts=a,,b", "a whole number, or names separated by commas"),
        ("--names=a,", "names separated by commas"),
        ("--steps=", "one whole number, or two separated by a comma, or one for each phase"),
        ("--turns=1,x", "whole numbers separated by commas"),
        ("--rates=1,inf", "a finite number, or one for each replaced block separated by commas"),
        ("--mixed=none", "a whole number, or auto"),
    ],
)
def test_wrong_values_say_what_came_and_what_was_expected(argument, expected):
    with pytest.raises(entry.UsageError) as error:
        parsed("--source=x", argument)
    assert str(error.value) == f"{argument}: expected {expected}"


def test_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parsed("--source=~/x.keras").source == "/home/me/x.keras"
    assert parsed("--source=folder:~/x").source == "folder:/home/me/x"
    assert parsed("--source=npz:~/x.npz").source == "npz:/home/me/x.npz"
    assert parsed("--source=tfds:mnist").source == "tfds:mnist"
    assert parsed("--source=x", "--folder=~/data").folder == "/home/me/data"
