import dataclasses

import pytest

from kgraft.comparison import METHODS, CompareConfig
from kgraft.config import RunConfig
from kgraft.errors import KgraftError

RUN = {"teacher": "a.keras", "dataset": "npz:a.npz", "eval_dataset": "npz:b.npz"}


def config(**changes):
    return CompareConfig.from_flags(**RUN | changes)


def test_defaults_are_all_methods_on_five_draws():
    assert config() == CompareConfig(RunConfig.from_flags(**RUN))
    assert (config().methods, config().shots_list, config().draws) == (METHODS, (1, 5, 10, 50), 5)


def test_settings_as_a_flag_would_say_them():
    found = config(methods="kd, kgraft", shots_list=3, draws=2)
    assert (found.methods, found.shots_list, found.draws) == (("kd", "kgraft"), (3,), 2)
    assert config(shots_list="1, 10").shots_list == (1, 10)
    assert config(shots_list=[1, 10]).shots_list == (1, 10)


def test_a_cell_has_the_seed_of_its_draw_and_its_own_shots():
    run = config(seed=7, shots_list=(1, 5)).cell_run(5, 2)
    assert (run.data.shots, run.data.seed) == (5, 9)
    assert run.teacher == config().run.teacher


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "kd,hinton"}, "--methods must be some of finetune, kd, .*; got hinton"),
        ({"methods": ()}, "--methods must be some of .*; got none"),
        ({"methods": "kd,kd"}, "--methods must name each method once; got kd,kd"),
        ({"shots_list": ()}, "--shots_list must be images per class, .*; got none"),
        ({"shots_list": (0, 1)}, "--shots_list must be images per class, .*; got 0,1"),
        ({"shots_list": (1, 1)}, "--shots_list must name each number once; got 1,1"),
        ({"shots_list": "1,x"}, "--shots_list must be a whole number; got 'x'"),
        ({"shots_list": 2.5}, "--shots_list must be a whole number; got 2.5"),
        ({"shots_list": None}, "--shots_list must be a whole number; got None"),
        ({"methods": None}, "--methods must be some of .*; got None"),
        ({"draws": 0}, "--draws must be at least 1; got 0"),
        ({"draws": 2.5}, "--draws must be a whole number; got 2.5"),
        ({"draws": None}, "--draws must be a whole number; got None"),
        ({"seed": 2**32 - 1, "draws": 2}, "--seed=4294967295 leaves no seed .*most 4294967294$"),
        ({"eval_dataset": None}, "--eval_dataset is missing: .*such as --eval_dataset=npz:a.npz"),
        ({"images": 20}, "--images=20 draws without looking at classes; .* give --shots_list"),
        ({"strategy": "multi_worker"}, "--strategy=multi_worker is not for comparisons"),
        ({"compress": "prune"}, "--compress=prune is not for comparisons, .*: leave it out"),
        ({"shot": 3}, "unknown settings: shot"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(KgraftError, match=message):
        config(**changes)


def test_cells_share_all_settings_but_what_they_vary_and_where_data_lies():
    shared = config().shared_settings()
    for changes in ({"shots": 3}, {"data_dir": "x"}, {"cache_mb": 1}, {"workdir": "y"}):
        assert config(**changes).shared_settings() == shared
    for changes in ({"seed": 3}, {"steps": 1}, {"graft": "1"}, {"eval_split": "validation"}):
        assert config(**changes).shared_settings() != shared


def test_it_is_plain_values_too():
    found = config().to_dict()
    assert found["run"]["data"]["dataset"] == "npz:a.npz"
    assert set(found) == {field.name for field in dataclasses.fields(CompareConfig)}
