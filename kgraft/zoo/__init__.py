"""Known networks: builders, the embedded teacher, and loading a teacher from anywhere."""

from kgraft.zoo.build import BUILDERS, build, find_builder
from kgraft.zoo.float32 import float32_copy, one_to_one
from kgraft.zoo.teacher import Teacher, check_model, load_teacher

__all__ = [
    "BUILDERS",
    "Teacher",
    "build",
    "check_model",
    "find_builder",
    "float32_copy",
    "load_teacher",
    "one_to_one",
]
