"""Keras Tuner's Tuner for graft schedules: it keeps failures, and waits quietly."""

import contextlib
import errno
import io
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.engine import trial as trial_module

from kgraft.data.write import write_json
from kgraft.errors import KgraftError, reason_of
from kgraft.tuning.declare import active_values
from kgraft.tuning.hypermodel import GraftHyperModel
from kgraft.tuning.oracles import HYPERBAND_EPOCHS, make_oracle
from kgraft.tuning.records import FAILED, TrialRecord

_WAIT_SECONDS = 1.0
_DISK_FULL = os.strerror(errno.ENOSPC)


class GraftTuner(keras_tuner.Tuner):
    """Runs trials one after another, alone or as one of several workers."""

    def __init__(
        self,
        hypermodel: GraftHyperModel,
        oracle: keras_tuner.Oracle,
        *,
        folder: pathlib.Path,
        on_trial: Callable[[TrialRecord], None],
    ) -> None:
        """Opens the search in a folder, and goes on with the one that is there.

        Args:
            hypermodel: builds and trains students.
            oracle: chooses the trials.
            folder: Keras Tuner's own.
            on_trial: told each record.
        """
        self._laboratory = hypermodel.laboratory
        self._on_trial = on_trial
        self._asked = 0.0
        self._ran_out = False
        # Keras Tuner says on stdout that it reloads.
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                super().__init__(
                    oracle,
                    hypermodel,
                    directory=str(folder.parent),
                    project_name=folder.name,
                )
        except (KeyError, TypeError, ValueError) as error:  # Those of a file cut short.
            raise KgraftError(
                f"the search in {folder} cannot be gone on with: {type(error).__name__}: {error}; "
                "choose another --workdir, or remove it to start anew"
            ) from error

    def _populate_initial_space(self) -> None:
        # The space is declared as a whole: no model has to be built to find its conditions.
        hp = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(hp)
        self.oracle.update_space(hp)

    def on_search_begin(self) -> None:
        """Saves the search before its first trial, so that one killed in it is found again."""
        self.save()

    def save(self) -> None:
        """Writes the search, each file whole; Keras Tuner's own may leave half of one."""
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def pre_create_trial(self) -> None:
        """Waits a moment where the last request was answered at once with nothing to do."""
        rest = _WAIT_SECONDS - (time.monotonic() - self._asked)
        if rest > 0:
            time.sleep(rest)
        self._asked = time.monotonic()

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Does a trial; one that fails has its record too.

        What is the machine's fault ends the search, with the trial to be done again: Keras Tuner
        would fail all trials to come as well, and never try them again. One candidate may be too
        large for the memory, and fails; where the next one is as well, memory itself is short.

        Args:
            trial: Keras Tuner's.
            *args: none.
            **kwargs: of `GraftHyperModel.fit`.

        Returns:
            The metrics.

        Raises:
            FailedTrialError: the trial failed, with the reason.
            OSError: the disk is full, or the like.
            MemoryError: this and the last trial ran out of memory; or TensorFlow's
                `ResourceExhaustedError`.
        """
        hp = trial.hyperparameters
        part = hp.values.get("tuner/epochs", HYPERBAND_EPOCHS) / HYPERBAND_EPOCHS
        try:
            found = super().run_trial(trial, *args, name=trial.trial_id, part=part, **kwargs)
            self._ran_out = False
            return found
        except Exception as error:
            ran_out, self._ran_out = self._ran_out, _is_out_of_memory(error)
            # Files are written by Python, HDF5 and TensorFlow, each with errors of its own.
            if (
                isinstance(error, OSError)
                or _DISK_FULL in str(error)
                or (ran_out and self._ran_out)
            ):
                raise
            values = active_values(self._laboratory.bench.config.opened, hp)
            record = TrialRecord(
                trial.trial_id,
                FAILED,
                values,
                part=part,
                error=reason_of(error),
                worker=self.tuner_id,
            )
            self._laboratory.store.save(record)
            raise keras_tuner.errors.FailedTrialError(reason_of(error)) from error

    def _try_run_and_update_trial(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        # Keras Tuner's own prints a traceback; the reason is in the record, and in one line.
        try:
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = trial_module.TrialStatus.COMPLETED
        except keras_tuner.errors.FailedTrialError as error:
            trial.status = trial_module.TrialStatus.FAILED
            trial.message = str(error)

    def on_trial_end(self, trial: Any) -> None:
        """Tells of a trial.

        Args:
            trial: Keras Tuner's.
        """
        super().on_trial_end(trial)
        record = self._laboratory.store.find(trial.trial_id)
        if record is not None:
            self._on_trial(record)


def open_tuner(
    hypermodel: GraftHyperModel,
    workdir: pathlib.Path,
    *,
    shared: bool,
    on_trial: Callable[[TrialRecord], None],
) -> GraftTuner:
    """Opens the tuner of a search.

    Args:
        hypermodel: builds and trains students.
        workdir: the work folder.
        shared: whether a chief shares the trials out to workers.
        on_trial: told each record.
    """
    config = hypermodel.laboratory.bench.config
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    oracle = make_oracle(
        config.tuner, trials=config.trials, seed=config.run.data.seed, hyperparameters=hp
    )
    # It has lines of its own.
    oracle.verbose = 0
    if shared:
        oracle.workers = workdir / "workers"
    return GraftTuner(hypermodel, oracle, folder=workdir / "tuner", on_trial=on_trial)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
