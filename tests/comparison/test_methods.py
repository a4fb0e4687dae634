import dataclasses
import functools
import importlib
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from small_models import CLASSES, SHAPE, conv, small_model, trained

from kgraft.comparison import METHODS
from kgraft.comparison.methods import check_methods, method, takes_budget
from kgraft.comparison.told import Told
from kgraft.comparison.whole import random_student
from kgraft.data.npz_source import NpzSource
from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.graph import as_model, concat, count_macs
from kgraft.students import assign_recipes

# Modules that their functions' names hide.
fit, distiller = (importlib.import_module(f"kgraft.comparison.{n}") for n in ("fit", "distiller"))


@pytest.fixture(scope="module")
def setting(world):
    """Two blocks are as many as hints and a second stage need; one keeps an adapter."""
    return world.setting(graft="2-3")


@pytest.fixture(scope="module")
def outcomes(setting):
    before = [np.array(v) for v in setting.chain.graph.variables]
    made = {name: without_labels(setting, name) for name in METHODS}
    after = [np.array(v) for v in setting.chain.graph.variables]
    return made, before, after


def without_labels(setting, name):
    """Runs a method where no source has labels to read any more, but for `finetune`."""
    with pytest.MonkeyPatch.context() as patch:
        if name != "finetune":
            patch.setattr(NpzSource, "labels", property(refuse))
            patch.setattr(NpzSource, "attempts", refuse)
        return method(name).run(setting)


def refuse(*_):
    raise AssertionError("labels are read after the draw")


def test_every_student_has_the_same_architecture(outcomes):
    found = {without_left_adapters(outcome.student) for outcome in outcomes[0].values()}
    assert len(found) == 1


def without_left_adapters(student):
    """Parameters and multiply-adds but for the adapters that fusing has to leave in place."""
    left = [student.graph.call(adapter.name).name for adapter in student.adapters_left]
    macs = count_macs(student.graph)
    weights = sum(student.graph.call(name).op.count_params() for name in left)
    return student.graph.parameters - weights, sum(macs.values()) - sum(macs[n] for n in left)


def test_no_method_changes_the_teacher(outcomes):
    _, before, after = outcomes
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_methods_do_the_updates_they_say(outcomes, setting):
    updates = {name: outcome.updates for name, outcome in outcomes[0].items()}
    # Two blocks, two updates for each of the three phases.
    assert setting.updates == 6
    # The paper states none for five classes, and so has the budget.
    expected = {"budget": 6, "none": 0, "own": 3 + 1 + 2}
    assert updates == {name: expected[method(name).takes] for name in METHODS}


@pytest.mark.parametrize("name", ["kd", "fitnet"])
def test_updates_are_counted_where_they_are_done(name, setting, monkeypatch):
    def short(*_, plan, **__):
        return np.zeros(max(0, plan.updates - 1), np.float32)

    monkeypatch.setattr(importlib.import_module("kgraft.comparison.whole_methods"), "fit", short)
    trainings = 1 if name == "kd" else 2
    assert method(name).run(setting).updates == setting.updates - trainings


def test_all_students_differ_and_give_finite_logits(outcomes, pixels):
    logits = [np.asarray(outcome.student.graph(pixels)) for outcome in outcomes[0].values()]
    assert all(np.isfinite(found).all() for found in logits)
    for one, found in enumerate(logits):
        assert not any(np.allclose(found, other) for other in logits[:one])


def test_ours_records_what_it_kept(outcomes, setting):
    found = outcomes[0]["kgraft"]
    assert set(found.settings["kept_steps"]) == {phase.name for phase in setting.job.phases}
    assert found.computed_in == "float32"
    assert found.settings["train"] == dataclasses.asdict(setting.config.train)
    assert "held-out" in found.selection


# Those that graft train as a run does, of which pipeline/test_end_to_end.py asks it; the slow ones
# train in the loop that `kd` has.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in ("finetune", "kd_pruned", "fitnet")
        else name
        for name in METHODS
        if name not in ("paper", "kgraft", "closed")
    ],
)
def test_two_runs_with_one_seed_agree(name, setting, outcomes, pixels):
    again = method(name).run(setting).student.graph(pixels)
    np.testing.assert_array_equal(again, outcomes[0][name].student.graph(pixels))


def test_kept_blocks_are_in_training_mode_in_no_method(world_of, pixels):
    """Fitting by Keras runs all layers so: a Dropout of the teacher's own must not see it."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = conv(image, 6, name="stem", activation="relu")
    x = kl.Dropout(0.9, name="noise")(x)
    x = conv(conv(x, 8, name="a", activation="relu"), 8, name="b", activation="relu")
    x = kl.Dense(CLASSES, name="logits")(kl.GlobalAveragePooling2D(name="pool")(x))
    world = world_of(trained(keras.Model(image, x)))
    setting = world.setting(teacher_cuts=("noise", "b"), graft="1")
    pieces, own = distiller._joined(random_student(setting))
    model = as_model(concat(pieces), name="student", shared=own, frozen=True)
    wanted = np.asarray(model(pixels, training=False))
    np.testing.assert_array_equal(model(pixels, training=True), wanted)


SOURCES = {
    "finetune": "ICLR 2017",
    "kd": "2015",
    "kd_pruned": "2015",
    "distiller": "keras.distillation.Distiller",
    "fitnet": "ICLR 2015",
    "fskd": "CVPR 2020",
    "mir": "CVPR 2022",
    "paper": "AAAI 2021",
    "closed": "Ours",
    "kgraft": "Ours",
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_it_comes_from(name):
    run = method(name).run
    said = " ".join(f"{sys.modules[run.__module__].__doc__} {run.__doc__}".split())
    assert SOURCES[name] in said


def test_only_finetune_reads_labels(outcomes, setting):
    """The others have run where reading labels is an error, which it is for `finetune`."""
    assert outcomes[0].keys() == {*METHODS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NpzSource, "labels", property(refuse))
        with pytest.raises(AssertionError, match="labels are read after the draw"):
            method("finetune").run(setting)
    assert [name for name in METHODS if method(name).reads_labels] == ["finetune"]


@pytest.mark.parametrize("recipe", ["own.keras", "drop"])
def test_another_student_is_refused_by_those_that_prune(recipe, setting):
    recipes = assign_recipes("1-2", recipe, 4)
    message = (
        "--methods: for a pruned teacher, which is what fskd, mir must start from, every block "
        f"needs a recipe .*; block 1 has {recipes[1].kind}: leave out methods that prune, such as "
        "in --methods=kd,distiller,fitnet,paper,closed,kgraft$"
    )
    with pytest.raises(KgraftError, match=message):
        check_methods(["kd", "fskd", "mir"], setting.chain, recipes, updates=10)
    check_methods(["kd", "paper"], setting.chain, recipes, updates=10)


def test_no_updates_are_refused_by_those_that_train(setting):
    recipes = assign_recipes("all", "width:0.5", 4)
    with pytest.raises(KgraftError, match=r"--steps=0 leaves kd no updates.*=fskd,closed$"):
        check_methods(["closed", "kd"], setting.chain, recipes, updates=0)
    with pytest.raises(KgraftError, match="--steps=0 leaves paper no updates"):
        check_methods(["closed", "paper"], setting.chain, recipes, updates=0)
    check_methods(["fskd", "closed"], setting.chain, recipes, updates=0)


@pytest.mark.parametrize(("classes", "budget"), [(10, False), (100, False), (20, True)])
def test_the_paper_has_its_own_updates_where_it_states_them(classes, budget):
    assert takes_budget("paper", classes) == budget
    assert takes_budget("kd", classes)
    assert not takes_budget("closed", classes)


def test_students_of_their_own_work_with_the_others(world, tmp_path):
    small_model("residual", seed=1).save(tmp_path / "own.keras")
    setting = world.setting(
        methods=("kd", "distiller", "fitnet"),
        student=str(tmp_path / "own.keras"),
        student_cuts=("stem_relu", "res0_out", "res1_out"),
        graft="2-3",
    )
    graphs = [method(name).run(setting).student.graph for name in ("kd", "distiller", "fitnet")]
    assert len({graph.parameters for graph in graphs}) == 1


def test_a_single_last_block_leaves_fitnet_without_hints(world):
    made = method("fitnet").run(world.setting(graft="3"))
    assert (made.settings["hints_at"], made.updates) == ([], 2)


@pytest.fixture(scope="module")
def longer(world):
    """Enough updates for a line on the way."""
    return world.setting(graft="3", steps=(25, 25))


@pytest.mark.parametrize("name", ["kd", "distiller"])
def test_long_trainings_tell_how_far_they_are(name, longer, monkeypatch, capsys):
    told = functools.partial(Told, every=0)
    for module in (fit, distiller):
        monkeypatch.setattr(module, "Told", told)
    method(name).run(longer)
    err = capsys.readouterr().err
    assert re.search(rf"^kgraft: {name}  update 20/25  loss \d\S*  \d+:\d\d left$", err, re.M)
    assert "update 25/25" not in err


def test_finetune_learns_the_labels(world, pixels):
    setting = world.setting(augment="none", steps=(40, 40), batch=4)
    setting = dataclasses.replace(setting, updates=0)
    start = method("finetune").run(setting)
    assert start.notes == ("reads the labels of the transfer images",)
    trained = method("finetune").run(dataclasses.replace(setting, updates=300))
    assert loss_on_shots(setting, trained) < 0.5 * loss_on_shots(setting, start)


def loss_on_shots(setting, outcome):
    from kgraft.comparison.labels import transfer_labels

    transfer = setting.job.transfer
    labels = transfer_labels(setting)[transfer.owners]
    logits = np.asarray(outcome.student.graph(transfer.views.astype("float32") / 255))
    logits = logits - logits.max(1, keepdims=True)
    chosen = logits[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(logits).sum(1)) - chosen))


def test_finetune_sees_the_views_that_have_labels(world):
    made = method("finetune").run(world.setting(mixed_views=40, steps=(1, 1)))
    assert made.settings["views_used"] == 10 * 3
    held_out = method("finetune").run(world.setting(augment="none", steps=(1, 1)))
    assert held_out.settings["views_used"] == 10 - 2


@pytest.fixture(scope="module")
def learning(world):
    return world.setting(graft="2-3", steps=(50, 50), batch=10)


@pytest.mark.parametrize("name", ["kd", "distiller", "fitnet"])
def test_students_from_random_weights_learn_what_the_teacher_says(name, learning):
    start = divergence(learning, fuse(random_student(learning)))
    assert divergence(learning, method(name).run(learning).student) < 0.5 * start


def divergence(setting, student):
    """Kullback-Leibler divergence from the teacher's classes on the training views."""
    views = setting.bank.views.astype("float32") / 255
    wanted, found = (
        tf.nn.log_softmax(graph(views)) for graph in (setting.chain.graph, student.graph)
    )
    return float(tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), -1)))
