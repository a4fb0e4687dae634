"""Chains and student blocks made of the small models."""

import functools
from collections.abc import Callable

import keras
import numpy as np
from small_models import images, randomise

from kgraft.grafting.span import run_student
from kgraft.graph import Chain, choose_cuts, count_macs, find_cuts, split_chain, trace_model
from kgraft.students import Start, StudentBlock, assign_recipes, make_student

Student = tuple[StudentBlock, ...]


def chain_of(model: keras.Model, blocks: int = 4) -> Chain:
    """The model in blocks of about equal cost, cut anywhere: in front of ReLUs and pools too."""
    graph = trace_model(model)
    cuts = choose_cuts(graph, blocks, macs=count_macs(graph), candidates=find_cuts(graph))
    return split_chain(graph, cuts)


def teacher_activations(chain: Chain, count: int = 16) -> Callable[[int, int], np.ndarray]:
    """The chain's activations on random images, as a recipe asks for them."""

    @functools.cache
    def activations(position: int) -> np.ndarray:
        if position == 0:
            return images(count, chain.graph.input_shape[1:], seed=1)
        return np.asarray(chain.blocks[position - 1].graph(activations(position - 1)))

    return lambda position, views: activations(position)[:views]


def student_of(
    chain: Chain,
    *,
    start: str = "random",
    graft: str = "all",
    recipe: str = "width:0.5",
    own: Chain | None = None,
) -> Student:
    """A student of the chain; with fresh weights it is made to look trained."""
    recipes = assign_recipes(graft, recipe, len(chain.blocks))
    student = make_student(chain, recipes, Start(start, teacher_activations(chain), 0), own=own)
    if start == "random":
        look_trained(student)
    return student


def look_trained(student: Student) -> None:
    """Gives a student's own layers biases and statistics; see `randomise`."""
    image_shape = (student[0].entry or student[0].body).input_shape
    batch = images(8, image_shape[1:], seed=2)
    layers = [layer for block in student if not block.kept for layer in block.body.layers]
    randomise(layers, lambda: run_student(student, batch, training=True))


def own_variables(student: Student) -> list[object]:
    """What a student's replaced blocks may train."""
    parts = [part for b in student if not b.kept for part in (b.entry, b.body, b.exit) if part]
    return [variable for part in parts for variable in part.trainable_variables]
