"""Keras Tuner's HyperModel: a trial's values to an untrained student, and its training."""

from collections.abc import Iterable
from typing import Any

import keras
import keras_tuner

from kgraft.config import RunConfig
from kgraft.graph import as_model, set_weights
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.declare import active_values, declare
from kgraft.tuning.records import TrialRecord
from kgraft.tuning.trial import Laboratory


class GraftHyperModel(keras_tuner.HyperModel):
    """Builds and trains the student of a trial, and keeps its record.

    Attributes:
        laboratory: does the trials.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        """Takes the laboratory.

        Args:
            laboratory: does the trials.
        """
        super().__init__()
        self.laboratory = laboratory
        self._config = laboratory.bench.config
        self._space = self._config.opened

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Tells Keras Tuner the whole search space.

        Args:
            hp: Keras Tuner's, changed in place.
        """
        declare(self._space, hp)

    def run_of(self, hp: keras_tuner.HyperParameters) -> RunConfig:
        """Returns the settings of the run that a trial stands for.

        Args:
            hp: the trial's values.

        Raises:
            KgraftError: the values do not make a run.
        """
        return candidate_run(active_values(self._space, hp), self._config.run)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Makes the fused student of a trial with random weights, to be weighed.

        Args:
            hp: the trial's values.

        Raises:
            KgraftError: the values do not make a run.
        """
        return self.laboratory.bench.untrained(self.run_of(hp))

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *,
        name: str = "",
        part: float = 1.0,
        callbacks: Iterable[Any] = (),
    ) -> dict[str, float]:
        """Weighs, solves, judges, trains and judges again the student of a trial.

        Args:
            hp: the trial's values.
            model: what `build` made; it gets the trained weights.
            name: of the trial, for its record.
            part: share of the phases to train.
            callbacks: Keras Tuner's, told once at the end.

        Returns:
            The metrics of the trial, `score` among them.

        Raises:
            KgraftError: the student cannot be made or trained.
        """
        record, graph = self.laboratory.attempt(
            name, active_values(self._space, hp), self.run_of(hp), model=model, part=part
        )
        if graph is not None:
            made = as_model(graph, name="student")
            for old, new in zip(made.layers, model.layers, strict=True):
                if old.weights:
                    set_weights(new, old.get_weights())
        metrics = _metrics(record)
        for callback in callbacks:
            callback.set_model(model)
            callback.on_epoch_end(0, logs=metrics)
        self.laboratory.store.save(record)
        return metrics


def _metrics(record: TrialRecord) -> dict[str, float]:
    assert record.score is not None
    found = {"score": record.score, **{f"{k}_share": v for k, v in record.shares.items()}}
    if record.agreement is not None and record.loss is not None:
        found |= {"agreement": record.agreement, "distillation_loss": record.loss}
    if record.accuracy is not None:
        found["accuracy"] = record.accuracy
    return found
