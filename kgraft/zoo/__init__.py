"""Known networks: builders, the embedded teacher, and loading a teacher from anywhere."""

from kgraft.zoo.build import BUILDERS, build, find_builder
from kgraft.zoo.teacher import Teacher, check_model, load_teacher

__all__ = ["BUILDERS", "Teacher", "build", "check_model", "find_builder", "load_teacher"]
