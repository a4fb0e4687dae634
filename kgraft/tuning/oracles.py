"""Keras Tuner's ways to choose the next trial, which take back the trials of workers that died."""

import pathlib
import warnings
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as trial_module

from kgraft.grafting.locks import file_lock

OBJECTIVE = keras_tuner.Objective("score", "max")
# Rounds of Hyperband are shares of the phases: a ninth, a third, all of them.
HYPERBAND_EPOCHS = 9


def worker_lock(folder: pathlib.Path, worker: str) -> pathlib.Path:
    """Returns the file that a worker holds locked while it lives.

    Args:
        folder: of the workers, in the shared work folder.
        worker: its name.
    """
    return folder / f"{worker}.lock"


class Reclaiming(keras_tuner.Oracle):
    """An oracle that gives the trial of a dead worker to the next one that asks.

    Keras Tuner's chief waits for such a trial for ever. Here a worker holds a lock while it lives,
    which the kernel gives back when it dies.
    """

    workers: pathlib.Path | None = None

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Returns the next trial of a worker.

        Args:
            tuner_id: the worker's name.

        Returns:
            Keras Tuner's trial; an idle one while all are given out and some are not done, whose
            worker may yet die.
        """
        if self.workers is not None:
            self._reclaim(tuner_id)
            if self._all_given_out(tuner_id):
                return trial_module.Trial(
                    hyperparameters=self.hyperparameters.copy(),
                    status=trial_module.TrialStatus.IDLE,
                )
        return super().create_trial(tuner_id)

    def _reclaim(self, asking: str) -> None:
        for worker in sorted({*self.ongoing_trials, *self.tuner_ids} - {asking}):
            if self._lives(worker):
                continue
            self.tuner_ids.discard(worker)
            trial = self.ongoing_trials.pop(worker, None)
            if trial is not None:
                self._retry_queue.append(trial.trial_id)

    def _lives(self, worker: str) -> bool:
        assert self.workers is not None
        with file_lock(worker_lock(self.workers, worker), wait=None) as free:
            return not free

    def _all_given_out(self, asking: str) -> bool:
        given = self.max_trials is not None and len(self.trials) >= self.max_trials
        others = set(self.ongoing_trials) - {asking}
        mine = asking in self.ongoing_trials
        return bool(given and others and not mine and not self._retry_queue)


class RandomOracle(Reclaiming, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class BayesianOracle(Reclaiming, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation with a Gaussian process."""

    def populate_space(self, trial_id: str) -> Any:
        """Chooses the values of a trial, without scikit-learn's warnings about few points.

        Args:
            trial_id: Keras Tuner's name of the trial.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().populate_space(trial_id)


class HyperbandOracle(Reclaiming, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""


def make_oracle(
    tuner: str, *, trials: int, seed: int, hyperparameters: keras_tuner.HyperParameters
) -> keras_tuner.Oracle:
    """Makes the oracle of a search.

    Args:
        tuner: `random`, `bayesian` or `hyperband`.
        trials: how many trials there are at most.
        seed: of what is drawn.
        hyperparameters: the whole search space.
    """
    shared = {
        "objective": OBJECTIVE,
        # Keras Tuner takes 0 for no seed.
        "seed": seed + 1,
        "hyperparameters": hyperparameters,
        # A failing trial is recorded, and the search goes on.
        "max_consecutive_failed_trials": trials + 1,
    }
    if tuner == "random":
        return RandomOracle(max_trials=trials, **shared)
    if tuner == "bayesian":
        first = max(3, min(trials // 3, 3 * len(hyperparameters.space)))
        return BayesianOracle(max_trials=trials, num_initial_points=first, **shared)
    oracle = HyperbandOracle(max_epochs=HYPERBAND_EPOCHS, hyperband_iterations=trials, **shared)
    oracle.max_trials = trials
    return oracle
