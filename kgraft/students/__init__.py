"""Student blocks: recipes that make a block smaller, and its starting weights."""

from kgraft.students.block import (
    StudentBlock,
    adapter_layer,
    adapter_matrix,
    make_adapter,
    set_adapter_matrix,
)
from kgraft.students.make import Start, make_student
from kgraft.students.own_block import check_own
from kgraft.students.recipes import Recipe, assign_recipes, parse_recipe

__all__ = [
    "Recipe",
    "Start",
    "StudentBlock",
    "adapter_layer",
    "adapter_matrix",
    "assign_recipes",
    "check_own",
    "make_adapter",
    "make_student",
    "parse_recipe",
    "set_adapter_matrix",
]
