"""Blocks in a row, solved on what the student itself makes."""

import numpy as np
import pytest
from small_models import images, small_model, state
from student_cases import chain_of, own_variables, student_of, teacher_activations

from kgraft.grafting.span import run_student
from kgraft.graph import split_chain, trace_model
from kgraft.students import Start, assign_recipes, make_student, solve_connected


def distance(student, model, seed=5):
    x = images(64, seed=seed)
    wanted = np.asarray(model(x, training=False))
    return np.square(np.asarray(run_student(student, x)) - wanted).sum()


def connected(chain, student, count=64):
    solve_connected(chain, student, teacher_activations(chain, count), seed=0)


@pytest.mark.parametrize("name", ["residual", "depthwise", "concatenation", "squeeze_excite"])
def test_a_connected_student_comes_nearer(name):
    model = small_model(name)
    chain = chain_of(model)
    recipes = assign_recipes("all", "width:0.6", 4)
    student = make_student(chain, recipes, Start("teacher", teacher_activations(chain, 64), 0))
    before = distance(student, model)
    connected(chain, student)
    assert distance(student, model) < 0.9 * before


def test_a_student_that_is_the_teacher_stays_it():
    model = small_model("residual")
    chain = chain_of(model)
    student = student_of(chain, start="teacher", recipe="width:1")
    before = state(*own_variables(student))
    connected(chain, student)
    for old, new in zip(before, state(*own_variables(student)), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-3)


def test_kept_blocks_between_are_run_through():
    model = small_model("plain")
    chain = chain_of(model)
    recipes = assign_recipes("0,2", "width:0.5", 4)
    student = make_student(chain, recipes, Start("teacher", teacher_activations(chain, 64), 0))
    before, teacher = distance(student, model), state(*chain.graph.variables)
    connected(chain, student)
    assert distance(student, model) < before
    for old, new in zip(teacher, state(*chain.graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_own_students_exit_is_solved_anew():
    model = small_model("plain")
    chain = split_chain(trace_model(model), ("conv1", "conv2"))
    mine = split_chain(trace_model(small_model("plain", seed=1)), ("conv1", "conv3"))
    recipes = assign_recipes("all", "mine.keras", 3)
    start = Start("teacher", teacher_activations(chain, 64), 0)
    student = make_student(chain, recipes, start, own=mine)
    bodies = [state(*made.body.variables) for made in student]
    exit_before = state(*student[1].exit.variables)
    connected(chain, student)
    assert not np.array_equal(exit_before[0], np.asarray(student[1].exit.variables[0]))
    for old, made in zip(bodies, student, strict=True):
        for a, b in zip(old, state(*made.body.variables), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_seed_gives_the_same_student():
    chain = chain_of(small_model("residual"))

    def weights():
        student = student_of(chain, start="teacher", recipe="inner:0.5")
        connected(chain, student)
        return state(*own_variables(student))

    for one, two in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(one, two)
