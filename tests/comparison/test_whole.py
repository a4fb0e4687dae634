import numpy as np
import pytest
from small_models import images, plain_units, small_model
from student_cases import chain_of, student_of

from kgraft.comparison.whole import Feed, as_whole, random_student, trainable
from kgraft.grafting import fuse
from kgraft.grafting.span import run_student


def test_adapters_that_meet_are_left_out_and_others_stay():
    chain = chain_of(small_model("residual"))
    student = student_of(chain, graft="0-2")
    whole = as_whole(student)
    assert student[0].exit is not None
    assert student[1].entry is not None
    assert whole[0].exit is None
    assert whole[1].entry is None
    assert whole[2].exit is student[2].exit


def test_the_architecture_is_that_of_the_fused_student(setting):
    grafted = fuse(student_of(setting.chain, graft="1-3"))
    whole = fuse(random_student(setting))
    # In front of an identity shortcut the fused student keeps a 1x1 map of six channels.
    assert [left.name for left in grafted.adapters_left] == ["block3_entry"]
    assert not whole.adapters_left
    assert grafted.graph.parameters == whole.graph.parameters + 6 * 6


@pytest.mark.parametrize("student", ["width:0.5", "inner:0.5", "drop"])
@pytest.mark.parametrize("graft", ["3", "1-2"])
def test_whatever_the_recipe(student, graft, world):
    setting = world.shapes(methods=("kd",), student=student, graft=graft)
    assert size(random_student(setting)) == size(
        student_of(setting.chain, graft=graft, recipe=student)
    )


def test_blocks_of_several_recipes(world):
    setting = world.shapes(methods=("kd",), graft="1=drop,2")
    grafted = student_of(setting.chain, graft="1=drop,2")
    assert size(random_student(setting)) == size(grafted)


def test_units_that_are_not_residual_are_left_out_too(world_of):
    world = world_of(plain_units(4))
    flags = {"teacher_cuts": ("stem",), "graft": "1", "student": "depth:2"}
    setting = world.shapes(methods=("kd",), **flags)
    grafted = student_of(setting.chain, graft="1", recipe="depth:2")
    assert size(random_student(setting)) == size(grafted)


def size(student):
    """Parameters but for the adapters that fusing has to leave in place."""
    fused = fuse(student)
    left = [fused.graph.call(adapter.name).op for adapter in fused.adapters_left]
    return fused.graph.parameters - sum(op.count_params() for op in left)


def test_kept_blocks_do_not_train(setting):
    whole = random_student(setting)
    own = {id(v) for v in trainable(whole)}
    assert own
    assert not own & {id(v) for v in setting.chain.graph.variables}


def test_random_students_of_a_seed_are_alike(setting):
    one, other = (run_student(random_student(setting), images()) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_feed_starts_behind_the_frozen_blocks_and_says_what_the_whole_says(setting):
    feed, student = Feed.of(setting), random_student(setting)
    assert feed.position == 1
    rows = {name: source[:4] for name, source in feed.data().items()}
    views = np.asarray(setting.bank.views[:4] / 255.0, "float32")
    np.testing.assert_allclose(rows["logits"], setting.chain.graph(views), atol=1e-4)
    np.testing.assert_allclose(feed.teach(rows, 4), rows["logits"], atol=1e-4)
    kept = setting.chain.blocks[0].graph(views)
    wanted = run_student(student[1:], kept, training=True)
    np.testing.assert_allclose(feed.run(rows, student), wanted, atol=1e-4)


def test_a_feed_without_a_cache_starts_at_the_views(setting):
    student = random_student(setting)
    rows = {"entry": setting.bank.rows_of(0)[:4]}
    near = {name: source[:4] for name, source in Feed.of(setting).data().items()}
    far = Feed(setting, 0).run(rows, student)
    np.testing.assert_allclose(far, Feed.of(setting).run(near, student), atol=1e-3)
