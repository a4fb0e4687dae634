"""Recipes by name, block by block."""

import pytest

from kgraft.errors import KgraftError
from kgraft.students import Recipe, assign_recipes, parse_recipe

KEEP, HALF, QUARTER = Recipe("keep"), Recipe("width", 0.5), Recipe("width", 0.25)


def test_recipes_are_read():
    assert parse_recipe("width:0.5") == HALF
    assert parse_recipe("width:1") == Recipe("width", 1.0)
    assert parse_recipe("inner:0.25") == Recipe("inner", 0.25)
    assert parse_recipe("depth:3") == Recipe("depth", units=3)
    assert parse_recipe("drop") == Recipe("drop")
    assert parse_recipe("keep") == KEEP
    assert parse_recipe("models/student.keras") == Recipe("model")
    assert parse_recipe("applications:MobileNetV2") == Recipe("model")


@pytest.mark.parametrize("text", ["width:", "width", "width:0", "width:1.5", "width:-1", "width:x"])
def test_ratios_that_make_no_sense(text):
    with pytest.raises(KgraftError) as error:
        parse_recipe(text)
    assert str(error.value) == (
        "--student: expected width:RATIO with a ratio above 0 and up to 1, such as width:0.5; "
        f"got {text!r}"
    )


def test_an_inner_ratio_that_makes_no_sense():
    with pytest.raises(KgraftError, match=r"^--student: expected inner:RATIO .* inner:0.5; got"):
        parse_recipe("inner:2")


@pytest.mark.parametrize("text", ["depth:", "depth", "depth:0", "depth:-1", "depth:1.5"])
def test_numbers_of_units_that_make_no_sense(text):
    with pytest.raises(KgraftError) as error:
        parse_recipe(text)
    assert str(error.value) == (
        "--student: expected depth:N with the number of repeated units that stay, 1 or more, such "
        f"as depth:3; got {text!r}"
    )


def test_a_model_as_a_blocks_own_recipe():
    with pytest.raises(KgraftError) as error:
        assign_recipes("1=mine.keras", "width:0.5", 4)
    assert str(error.value) == (
        "--graft: a block's own recipe must be width:RATIO, inner:RATIO, depth:N, drop or keep; "
        "got 'mine.keras' (a student model is given to --student)"
    )


def test_a_ratio_of_one_block_that_makes_no_sense_names_its_flag():
    with pytest.raises(KgraftError, match=r"^--graft: expected width:RATIO .*; got 'width:2'$"):
        assign_recipes("0,1=width:2", "width:0.5", 4)


@pytest.mark.parametrize(
    ("graft", "wanted"),
    [
        ("all", (HALF,) * 4),
        ("2", (KEEP, KEEP, HALF, KEEP)),
        ("1-3", (KEEP, HALF, HALF, HALF)),
        ("3=width:0.25, 0", (HALF, KEEP, KEEP, QUARTER)),
        ("0-1=width:0.25,3", (QUARTER, QUARTER, KEEP, HALF)),
        ("0,1=keep", (HALF, KEEP, KEEP, KEEP)),
    ],
)
def test_each_block_gets_its_recipe(graft, wanted):
    assert assign_recipes(graft, "width:0.5", 4) == wanted


@pytest.mark.parametrize("part", ["4", "2-4", "3-1", "-1", "x", "1-", ""])
def test_numbers_out_of_range(part):
    with pytest.raises(KgraftError) as error:
        assign_recipes(f"0,{part}", "width:0.5", 4)
    assert str(error.value) == (
        "--graft: expected 'all', or block numbers from 0 to 3 such as 2 or 1-3, each with or "
        f"without =RECIPE; got {part!r}"
    )


def test_a_block_named_twice():
    with pytest.raises(KgraftError) as error:
        assign_recipes("0-2,1", "width:0.5", 4)
    assert str(error.value) == "--graft: block 1 is named twice in '0-2,1'"


@pytest.mark.parametrize(("graft", "student"), [("all", "keep"), ("1=keep", "width:0.5")])
def test_nothing_to_graft(graft, student):
    with pytest.raises(KgraftError) as error:
        assign_recipes(graft, student, 4)
    assert str(error.value) == (
        f"--graft={graft} with --student={student} keeps every block, so there is nothing to "
        "graft: name a block with a recipe such as width:0.5"
    )
