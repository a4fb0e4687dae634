"""Student blocks: recipes that make a block smaller, and its starting weights.

The names are loaded when they are first used: the command line reads recipes without TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kgraft.students.block import (
        StudentBlock,
        adapter_layer,
        adapter_matrix,
        make_adapter,
        set_adapter_matrix,
    )
    from kgraft.students.connected import solve_connected
    from kgraft.students.make import Maker, Start, check_recipes, make_from_teacher, make_student
    from kgraft.students.own_block import check_own
    from kgraft.students.recipes import Recipe, assign_recipes, parse_recipe

__all__ = [
    "Maker",
    "Recipe",
    "Start",
    "StudentBlock",
    "adapter_layer",
    "adapter_matrix",
    "assign_recipes",
    "check_own",
    "check_recipes",
    "make_adapter",
    "make_from_teacher",
    "make_student",
    "parse_recipe",
    "set_adapter_matrix",
    "solve_connected",
]

_MODULES = {
    "block": (
        "StudentBlock",
        "adapter_layer",
        "adapter_matrix",
        "make_adapter",
        "set_adapter_matrix",
    ),
    "connected": ("solve_connected",),
    "make": ("Maker", "Start", "check_recipes", "make_from_teacher", "make_student"),
    "own_block": ("check_own",),
    "recipes": ("Recipe", "assign_recipes", "parse_recipe"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
