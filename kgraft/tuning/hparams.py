"""Trials for TensorBoard's HParams plugin."""

import pathlib

import tensorflow as tf
from tensorboard.plugins.hparams import api

from kgraft.tuning.records import TrialRecord


def log_hparams(folder: pathlib.Path, record: TrialRecord) -> None:
    """Writes a trial's values and figures where its curves are.

    Args:
        folder: of the curves of all trials.
        record: the trial's.
    """
    figures = {
        "score": record.score,
        "agreement": record.agreement,
        "distillation_loss": record.loss,
        "accuracy": record.accuracy,
        **{f"{name}_share": share for name, share in record.shares.items()},
    }
    writer = tf.summary.create_file_writer(str(folder / record.trial))
    with writer.as_default():
        api.hparams(dict(record.values), trial_id=record.trial)
        for name, value in figures.items():
            if value is not None:
                tf.summary.scalar(name, value, step=0)
    writer.close()
