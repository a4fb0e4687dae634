import keras_tuner
import pytest
from tuning_cases import settings

from kgraft.tuning.declare import active_values, declare
from kgraft.tuning.oracles import make_oracle

SPACE = settings(
    "block1=keep|width|inner", "block1_ratio=0.25..0.75:0.25", "block1_rate=1e-4..1e-2:log"
).opened


@pytest.fixture
def hp():
    made = keras_tuner.HyperParameters()
    declare(SPACE, made)
    return made


def test_a_rate_exists_only_where_its_block_is_grafted(hp):
    hp.values = {"block1": "keep", "block1_ratio": 0.5, "block1_rate": 1e-3}
    assert active_values(SPACE, hp) == {"block1": "keep"}
    hp.values = {"block1": "inner", "block1_ratio": 0.5, "block1_rate": 1e-3}
    assert active_values(SPACE, hp) == {"block1": "inner", "block1_ratio": 0.5, "block1_rate": 1e-3}


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_oracles_draw_from_the_space(tuner, hp, tmp_path):
    oracle = make_oracle(tuner, trials=6, seed=0, hyperparameters=hp)
    oracle.verbose = 0
    oracle._set_project_dir(str(tmp_path), "tuner")
    kinds = set()
    for _ in range(6):
        trial = oracle.create_trial("one")
        values = active_values(SPACE, trial.hyperparameters)
        kept = values["block1"] == "keep"
        assert set(values) == {"block1"} if kept else {"block1", "block1_ratio", "block1_rate"}
        assert kept or values["block1_ratio"] in (0.25, 0.5, 0.75)
        kinds.add(values["block1"])
        oracle.update_trial(trial.trial_id, {"score": 0.5})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert len(kinds) > 1
    assert oracle.create_trial("one").status == "STOPPED"
