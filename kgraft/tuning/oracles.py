"""Keras Tuner's ways to choose the next trial, which take back the trials of workers that died."""

import itertools
import pathlib
import warnings
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import trial as trial_module

from kgraft.data.write import write_json
from kgraft.grafting.locks import file_lock

OBJECTIVE = keras_tuner.Objective("score", "max")
# Rounds of Hyperband are shares of the phases: a ninth, a third, all of them.
HYPERBAND_EPOCHS = 9
# Points among which the most promising is looked for when the best of all has been tried.
_CANDIDATES = 256
# Draws in a row of points that are known, after which a space counts as searched through. Keras
# Tuner's 20 end a search of 30 points with half a chance before its last one.
_COLLISIONS = 2000


def worker_lock(folder: pathlib.Path, worker: str) -> pathlib.Path:
    """Returns the file that a worker holds locked while it lives.

    Args:
        folder: of the workers, in the shared work folder.
        worker: its name.
    """
    return folder / f"{worker}.lock"


def living(folder: pathlib.Path) -> set[str]:
    """Returns the names of the workers that live, the chief not among them.

    Each one's lock is taken for an instant; where the disk knows no locks nobody seems to live.

    Args:
        folder: of the workers, in the shared work folder.
    """
    names = {path.stem for path in folder.glob("*.lock")}
    return {name for name in names if "chief" not in name and lives(folder, name)}


def lives(folder: pathlib.Path, worker: str) -> bool:
    """Returns whether a worker holds its lock.

    Args:
        folder: of the workers.
        worker: its name.
    """
    with file_lock(worker_lock(folder, worker), wait=None) as free:
        return not free


class Reclaiming(keras_tuner.Oracle):
    """An oracle that gives the trial of a dead worker to the next one that asks.

    Keras Tuner's chief waits for such a trial for ever. Here a worker holds a lock while it lives,
    which the kernel gives back when it dies. A worker that lives and has not asked yet, as it does
    the run that the search starts from, is waited for: with the chief gone it would ask for ever.
    """

    workers: pathlib.Path | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what the oracle of Keras Tuner takes."""
        super().__init__(*args, **kwargs)
        self._stopped: set[str] = set()

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Returns the next trial of a worker.

        Args:
            tuner_id: the worker's name.

        Returns:
            Keras Tuner's trial; an idle one while all are given out and some are not done, whose
            worker may yet die, or a worker has yet to ask.
        """
        if self.workers is not None:
            self._reclaim(tuner_id)
            if self._all_given_out(tuner_id):
                return self._idle()
        trial = super().create_trial(tuner_id)
        if trial.status != trial_module.TrialStatus.STOPPED:
            return trial
        if self.workers is not None and self._others_at_work(tuner_id):
            # The space has no further points, but one that is given out may come back.
            self.tuner_ids.add(tuner_id)
            return self._idle()
        self._stopped.add(tuner_id)
        return trial

    def save(self) -> None:
        """Writes the state of the search; Keras Tuner's own leaves half a file where it ends."""
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        path = pathlib.Path(self._get_trial_dir(trial.trial_id), "trial.json")
        write_json(path, trial.get_state())

    def reload(self) -> None:
        """Reads the search, without a trial that the process ended before it was given out.

        Its file is written first. Nobody would do it, and it would count as one of all. One with
        others behind it stays: names of trials are made by counting them.
        """
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):
            if int(trial_id) >= len(self.start_order):
                del self.trials[trial_id]

    def _idle(self) -> Any:
        return trial_module.Trial(
            hyperparameters=self.hyperparameters.copy(), status=trial_module.TrialStatus.IDLE
        )

    def _reclaim(self, asking: str) -> None:
        for worker in sorted({*self.ongoing_trials, *self.tuner_ids} - {asking}):
            if self.workers is not None and lives(self.workers, worker):
                continue
            self.tuner_ids.discard(worker)
            trial = self.ongoing_trials.pop(worker, None)
            if trial is not None:
                self._retry_queue.append(trial.trial_id)

    def _all_given_out(self, asking: str) -> bool:
        given = self.max_trials is not None and len(self.trials) >= self.max_trials
        if not given or asking in self.ongoing_trials or self._retry_queue:
            return False
        return self._others_at_work(asking)

    def _others_at_work(self, asking: str) -> bool:
        return bool(set(self.ongoing_trials) - {asking} or self._yet_to_ask(asking))

    def _yet_to_ask(self, asking: str) -> set[str]:
        if self.workers is None:
            return set()
        return living(self.workers) - self.tuner_ids - self._stopped - {asking}


class RandomOracle(Reclaiming, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class BayesianOracle(Reclaiming, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation with a Gaussian process, no point twice.

    Keras Tuner's takes the best point of a continuous space and rounds it. In a space of a few
    values each, that comes to the best one known, again and again.
    """

    def populate_space(self, trial_id: str) -> Any:
        """Chooses the values of a trial, without scikit-learn's warnings about few points.

        Args:
            trial_id: Keras Tuner's name of the trial.

        Returns:
            Keras Tuner's dictionary of values and status: the search stops when all points of the
            space have been tried.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = super().populate_space(trial_id)
            if found["values"] is None or not self._duplicate(found["values"]):
                return found
            values = self._most_promising_untried()
        status = trial_module.TrialStatus
        return {"status": status.STOPPED if values is None else status.RUNNING, "values": values}

    def _most_promising_untried(self) -> dict[str, Any] | None:
        # None says that no further point was found.
        untried = list(itertools.islice(iter(self._random_values, None), _CANDIDATES))
        if not untried:
            return None
        points = np.array([self._point(values) for values in untried])
        mean, deviation = self.gpr.predict(points, return_std=True)
        # The bound that Keras Tuner minimises: scores count as losses there.
        return untried[int(np.argmin(mean - self.beta * deviation))]

    def _point(self, values: dict[str, Any]) -> list[float]:
        """Embeds values into the cube that the Gaussian process knows."""
        return [hp.value_to_prob(values.get(hp.name, hp.default)) for hp in self._nonfixed_space()]


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
    oracle: keras_tuner.Oracle
    if tuner == "random":
        oracle = RandomOracle(max_trials=trials, **shared)
    elif tuner == "bayesian":
        first = max(3, min(trials // 3, 3 * len(hyperparameters.space)))
        oracle = BayesianOracle(max_trials=trials, num_initial_points=first, **shared)
    else:
        oracle = HyperbandOracle(max_epochs=HYPERBAND_EPOCHS, hyperband_iterations=trials, **shared)
        oracle.max_trials = trials
    oracle._max_collisions = _COLLISIONS
    return oracle
