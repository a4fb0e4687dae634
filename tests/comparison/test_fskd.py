import keras
import numpy as np
import pytest
from small_models import CLASSES, SHAPE, assert_close, conv, conv_classifier, images, trained

from kgraft.comparison.fskd import absorb, fskd, solve
from kgraft.comparison.pruned import pruned_student
from kgraft.comparison.whole import as_whole
from kgraft.grafting import fuse

RNG = np.random.default_rng(0)


def test_least_squares_finds_the_map_behind_the_data():
    made, matrix = RNG.normal(size=(200, 4)), RNG.normal(size=(4, 4))
    wanted = np.zeros((200, 9))
    kept = np.array([0, 3, 4, 8])
    wanted[:, kept] = made @ matrix
    parts = ((made[rows], wanted[rows]) for rows in (slice(0, 50), slice(50, 200)))
    np.testing.assert_allclose(solve(parts, kept), matrix, atol=1e-9)


def test_dead_channels_get_the_map_of_least_norm():
    made = RNG.normal(size=(50, 3))
    made[:, 1] = 0
    found = solve(iter([(made, made)]), np.arange(3))
    np.testing.assert_allclose(found, np.diag([1.0, 0.0, 1.0]), atol=1e-9)


def test_an_absorbed_map_is_the_map_behind_the_convolution():
    layer = keras.layers.Conv2D(4, 3, padding="same", bias_initializer="normal")
    before, matrix = np.asarray(layer(images())), RNG.normal(size=(4, 4))
    absorb(layer, matrix)
    assert_close(layer(images()), before @ matrix)


def test_an_unpruned_student_stays_the_teacher(world, pixels):
    setting = world.setting(student="width:1")
    made = fskd(setting)
    assert made.settings["convolutions_solved"] == 7
    assert made.settings["views_used"] == len(setting.bank)
    assert_close(made.student.graph(pixels), np.asarray(setting.chain.graph(pixels)), 1e-4)


def test_it_brings_the_features_closer_to_the_teachers(setting):
    views = np.asarray(setting.bank.views / 255.0, "float32")
    blocks = as_whole(pruned_student(setting.chain, setting.job.recipes).blocks)
    kept = pruned_student(setting.chain, setting.job.recipes).kept["res1_out"]
    wanted = setting.chain.graph.run(views)["res1_out"].numpy()[..., kept]

    def error(graph):
        return np.square(graph.run(views)["res1_out"] - wanted).mean()

    assert error(fskd(setting).student.graph) < 0.7 * error(fuse(blocks).graph)


def test_a_convolution_that_holds_an_adapter_is_corrected_whole(world_of):
    """In front of an identity shortcut an exit adapter folds into the convolution before it."""
    image = keras.Input(SHAPE)
    x = conv(image, 8, name="stem", activation="relu")
    x = conv(conv(x, 16, name="expand", activation="relu"), 12, 1, name="project")
    x = keras.layers.Add()([x, conv(x, 12, name="inner", activation="relu")])
    x = keras.layers.GlobalAveragePooling2D()(x)
    teacher = trained(keras.Model(image, keras.layers.Dense(CLASSES)(x)))
    setting = world_of(teacher).setting(teacher_cuts=("stem", "project"), graft="1")
    views = np.asarray(setting.bank.views / 255.0, "float32")
    wanted = setting.chain.graph.run(views)["project"]

    def error(graph):
        assert graph.call("project").op.filters == 12
        return np.square(graph.run(views)["project"] - wanted).mean()

    pruned = fuse(as_whole(pruned_student(setting.chain, setting.job.recipes).blocks))
    assert error(fskd(setting).student.graph) < 0.7 * error(pruned.graph)


@pytest.mark.parametrize("pool_first", [True, False])
def test_a_convolution_to_the_classes_is_left_alone(pool_first, world_of):
    setting = world_of(conv_classifier(pool_first)).setting(teacher_cuts=("stem",), graft="1")
    made = fskd(setting)
    assert made.settings["convolutions_solved"] == 1
    pruned = fuse(as_whole(pruned_student(setting.chain, setting.job.recipes).blocks))
    for found, wanted in zip(
        made.student.graph.call("classes").op.weights,
        pruned.graph.call("classes").op.weights,
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_blocks_from_the_first_replaced_one_on_bound_the_views(setting, monkeypatch):
    """What comes before has the largest maps, and is the teacher's own."""
    seen = []
    monkeypatch.setattr("kgraft.comparison.fskd.affordable_views", lambda g: seen.append(g) or 16)
    made = fskd(setting)
    assert made.settings["views_used"] == 16 < len(setting.bank)
    assert {call.name for call in seen[0].calls}.isdisjoint(
        call.name for call in setting.chain.blocks[0].graph.calls
    )
