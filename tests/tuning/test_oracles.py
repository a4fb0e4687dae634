import contextlib

import keras_tuner
import pytest
from tuning_cases import settings

from kgraft.grafting.locks import file_lock
from kgraft.tuning.config import HYPERBAND_ROUNDS
from kgraft.tuning.declare import declare
from kgraft.tuning.oracles import HYPERBAND_EPOCHS, living, make_oracle, worker_lock


@pytest.fixture
def oracle(tmp_path):
    hp = keras_tuner.HyperParameters()
    declare(settings("batch=1|2|3|4|5").opened, hp)
    made = make_oracle("random", trials=2, seed=0, hyperparameters=hp)
    made.verbose, made.workers = 0, tmp_path / "workers"
    made._set_project_dir(str(tmp_path), "tuner")
    return made


@contextlib.contextmanager
def alive(oracle, worker):
    with file_lock(worker_lock(oracle.workers, worker), wait=None) as held:
        assert held
        yield


def end(oracle, trial):
    oracle.update_trial(trial.trial_id, {"score": 0.5})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_the_trial_of_a_dead_worker_is_given_to_the_next_that_asks(oracle):
    with alive(oracle, "a"):
        with alive(oracle, "b"):
            lost = oracle.create_trial("b")
            own = oracle.create_trial("a")
            end(oracle, own)
            # All are given out, and the other one may yet die.
            assert oracle.create_trial("a").status == "IDLE"
        again = oracle.create_trial("a")
        assert (again.trial_id, again.status) == (lost.trial_id, "RUNNING")
        assert "b" not in oracle.tuner_ids
        end(oracle, again)
        assert oracle.create_trial("a").status == "STOPPED"
    assert not oracle.ongoing_trials and not oracle.tuner_ids


def test_a_worker_that_comes_back_gets_its_trial(oracle):
    with alive(oracle, "a"):
        first = oracle.create_trial("a")
    with alive(oracle, "a"):
        assert oracle.create_trial("a").trial_id == first.trial_id


def test_all_wait_for_one_that_lives_and_has_not_asked_yet(oracle):
    with alive(oracle, "a"), alive(oracle, "chief"):
        with alive(oracle, "late"):
            for _ in range(2):
                end(oracle, oracle.create_trial("a"))
            assert living(oracle.workers) == {"a", "late"}
            assert oracle.create_trial("a").status == "IDLE"
            # It has done the run that the search starts from.
            assert oracle.create_trial("late").status == "STOPPED"
            assert oracle.create_trial("a").status == "STOPPED"
        assert not oracle.tuner_ids


def test_one_that_dies_before_it_asks_is_not_waited_for(oracle):
    with alive(oracle, "a"):
        with alive(oracle, "late"):
            for _ in range(2):
                end(oracle, oracle.create_trial("a"))
            assert oracle.create_trial("a").status == "IDLE"
        assert oracle.create_trial("a").status == "STOPPED"


def scored_trials(made, score):
    """Runs a search to its end and gives back the values of each trial."""
    tried = []
    while (trial := made.create_trial("alone")).status != "STOPPED":
        tried.append(dict(trial.hyperparameters.values))
        made.update_trial(trial.trial_id, {"score": score(tried[-1])})
        trial.status = "COMPLETED"
        made.end_trial(trial)
    return tried


def test_hyperband_trains_to_the_end_what_its_fewest_trials_end_with(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Int("x", 1, 99)
    made = make_oracle("hyperband", trials=sum(HYPERBAND_ROUNDS), seed=0, hyperparameters=hp)
    made.verbose = 0
    made._set_project_dir(str(tmp_path), "tuner")
    epochs = [values["tuner/epochs"] for values in scored_trials(made, lambda v: v["x"])]
    ninths, thirds, whole = HYPERBAND_ROUNDS
    assert epochs == [1] * ninths + [3] * thirds + [HYPERBAND_EPOCHS] * whole


def test_bayesian_search_tries_no_point_twice_and_stops_when_all_are_tried(tmp_path):
    hp = keras_tuner.HyperParameters()
    declare(settings("batch=1|2|3|4|5").opened, hp)
    made = make_oracle("bayesian", trials=9, seed=0, hyperparameters=hp)
    made.verbose = 0
    made._set_project_dir(str(tmp_path), "tuner")
    tried = scored_trials(made, lambda values: -abs(values["batch"] - 4))
    assert sorted(values["batch"] for values in tried) == [1, 2, 3, 4, 5]


def test_bayesian_search_prefers_what_is_near_the_best(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Int("x", 0, 99)
    made = make_oracle("bayesian", trials=12, seed=0, hyperparameters=hp)
    made.verbose = 0
    made._set_project_dir(str(tmp_path), "tuner")
    tried = [v["x"] for v in scored_trials(made, lambda values: -((values["x"] / 100 - 0.7) ** 2))]
    assert len(set(tried)) == 12
    assert min(abs(x - 70) for x in tried) <= 2


def test_a_trial_may_come_back_where_the_space_has_no_further_points(oracle):
    hp = keras_tuner.HyperParameters()
    hp.Choice("x", [1, 2])
    oracle.hyperparameters, oracle.max_trials = hp, 9
    with alive(oracle, "a"):
        with alive(oracle, "b"):
            lost = oracle.create_trial("b")
            end(oracle, oracle.create_trial("a"))
            assert oracle.create_trial("a").status == "IDLE"
        again = oracle.create_trial("a")
        assert (again.trial_id, again.status) == (lost.trial_id, "RUNNING")
        end(oracle, again)
        assert oracle.create_trial("a").status == "STOPPED"
    assert not oracle.ongoing_trials and not oracle.tuner_ids


@pytest.mark.parametrize("tuner", ["random", "bayesian"])
def test_all_points_of_a_space_are_found(tmp_path, tuner):
    hp = keras_tuner.HyperParameters()
    hp.Int("x", 1, 15)
    made = make_oracle(tuner, trials=25, seed=0, hyperparameters=hp)
    made.verbose = 0
    made._set_project_dir(str(tmp_path), "tuner")
    assert sorted(v["x"] for v in scored_trials(made, lambda v: v["x"])) == list(range(1, 16))
