"""Known networks: builders, the embedded teacher, and loading a teacher from anywhere."""

from kgraft.zoo.build import BUILDERS, build, find_builder
from kgraft.zoo.teacher import Teacher, load_teacher

__all__ = ["BUILDERS", "Teacher", "build", "find_builder", "load_teacher"]
