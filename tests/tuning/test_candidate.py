import pytest
from tuning_cases import settings

from kgraft.errors import KgraftError
from kgraft.students.recipes import parse_recipe
from kgraft.tuning.candidate import candidate_run, read_cuts, recipe_text

BASE = settings().run


def test_no_value_is_the_start_itself():
    run = candidate_run({}, BASE)
    assert run.student.graft == "1=width:0.5,2=width:0.5"
    assert (run.train, run.data, run.teacher) == (BASE.train, BASE.data, BASE.teacher)


def test_values_reach_the_settings():
    values = {
        "teacher_cuts": "x+y+z",
        "block0": "inner",
        "block0_ratio": 0.75,
        "block1": "keep",
        "block3": "depth:2",
        "block3_rate": 5e-3,
        "batch": 16,
        "steps_two": 40,
        "order": "backward",
        "augment": "none",
    }
    run = candidate_run(values, BASE)
    assert run.teacher.cuts == ("x", "y", "z")
    # Block 2 keeps its recipe, and block 3 is beyond those of the start but has one of its own.
    assert run.student.graft == "0=inner:0.75,2=width:0.5,3=depth:2"
    assert run.train.block_rate == (1e-3, 1e-3, 5e-3)
    assert (run.train.batch, run.train.steps, run.train.order) == (16, (200, 40), "backward")
    assert run.data.augment == "none"


def test_a_rate_for_all_and_one_of_its_own():
    run = candidate_run({"block_rate": 2e-3, "block1_rate": 3e-3}, BASE)
    assert run.train.block_rate == (3e-3, 2e-3)


def test_numbers_of_mixed_views_beside_auto():
    config = settings("mixed_views=auto|4000")
    values = config.opened.parameters["mixed_views"].values
    found = [candidate_run({"mixed_views": value}, BASE).data.mixed_views for value in values]
    assert found == ["auto", 4000]
    assert candidate_run({"mixed_views": 7}, BASE).data.mixed_views == 7


def test_nothing_to_graft():
    with pytest.raises(KgraftError, match="every block is kept"):
        candidate_run({"block1": "keep", "block2": "keep"}, BASE)


@pytest.mark.parametrize("text", ["width:0.25", "inner:0.5", "depth:3", "drop", "keep"])
def test_recipes_are_written_as_they_are_read(text):
    assert recipe_text(parse_recipe(text)) == text


def test_cuts():
    assert read_cuts("4") == 4
    assert read_cuts("a+b") == ("a", "b")
