"""Epoch after epoch: update, report, keep the state."""

import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kgraft.data.hashes import labels_sha256
from kgraft.errors import KgraftError
from kgraft.teach.checkpoint import DATA, TrainingState, load_output, load_state, save_state
from kgraft.teach.config import TeachConfig
from kgraft.teach.images import TrainingImages
from kgraft.teach.schedule import one_cycle
from kgraft.teach.step import Learner

CHECK_EVERY = 50
NOT_SETTINGS = (
    *("data_dir", "manual_dir", "download", "eval_dataset", "eval_split", "eval_data_dir"),
    *("output", "workdir", "resume"),
)


def train(
    learner: Learner,
    images: TrainingImages,
    config: TeachConfig,
    *,
    say: Callable[[str], None],
) -> TrainingState:
    """Trains the learner's model for all epochs that are still to do.

    Args:
        learner: the model, changed in place.
        images: the training images.
        config: the settings; with `resume`, the state in `workdir` is loaded first.
        say: takes one line after each epoch.

    Returns:
        The state after the last epoch.

    Raises:
        KgraftError: the state in `workdir` is of other settings, labels or classes.
        KgraftError: the loss is no longer finite.
    """
    workdir = pathlib.Path(config.workdir)
    settings = {**settings_to_keep(config), DATA: labels_sha256(images.source)}
    output = str(pathlib.Path(config.output).resolve())
    state = load_state(workdir, settings=settings) if config.resume else None
    if state is not None:
        _restore(learner, state)
        if load_output(workdir) != output:
            save_state(state, workdir, settings=settings, output=output)
        say(f"resumed after epoch {len(state.history)} of {config.epochs}")
    elif config.resume:
        say(f"--resume: there is nothing in {workdir} to go on with; starting from the beginning")
    state = state or TrainingState((), (), (), 0.0)
    for epoch in range(len(state.history), config.epochs):
        start = time.monotonic()
        record = _run_epoch(learner, images, config, epoch=epoch)
        seconds = state.seconds + time.monotonic() - start
        state = _state(learner, (*state.history, record), seconds)
        save_state(state, workdir, settings=settings, output=output)
        say(_line(state, config.epochs))
    return state


def settings_to_keep(config: TeachConfig) -> dict[str, Any]:
    """Returns the settings that the trained weights depend on, paths left out.

    Args:
        config: all settings.
    """
    return {name: value for name, value in config.to_dict().items() if name not in NOT_SETTINGS}


def _run_epoch(
    learner: Learner, images: TrainingImages, config: TeachConfig, *, epoch: int
) -> dict[str, float]:
    total = images.steps * config.epochs
    sums = np.zeros(2)
    waiting: list[tuple[tf.Tensor, tf.Tensor]] = []
    rate = 0.0
    for step, (batch, labels) in enumerate(images.epoch(epoch), start=1):
        done = epoch * images.steps + step
        rate = one_cycle(done - 1, total=total, peak=config.peak_rate, warmup=config.warmup)
        waiting.append(learner.step(batch, labels, tf.constant(rate)))
        # Reading a number waits for the device, so many are read at once.
        if step % CHECK_EVERY == 0 or step == images.steps:
            sums += np.sum(np.array(waiting), axis=0)
            waiting.clear()
            _check_finite(sums[0], epoch, step)
            _show(epoch, config.epochs, step, images.steps, sums / step)
    loss, accuracy = (sums / images.steps).tolist()
    return {"epoch": epoch + 1, "loss": loss, "train_accuracy": accuracy, "rate": rate}


def _check_finite(loss: float, epoch: int, step: int) -> None:
    if not np.isfinite(loss):
        raise KgraftError(
            f"the loss is {loss} in epoch {epoch + 1} at step {step}: lower --peak_rate, or "
            f"raise --warmup"
        )


def _show(epoch: int, epochs: int, step: int, steps: int, means: np.ndarray) -> None:
    if sys.stderr.isatty():
        end = "\r" if step < steps else "\r\033[K"
        text = f"epoch {epoch + 1}/{epochs} {step}/{steps} loss {means[0]:.4f}"
        print(text, end=end, file=sys.stderr, flush=True)


def _line(state: TrainingState, epochs: int) -> str:
    record, done = state.history[-1], len(state.history)
    left = state.seconds / done * (epochs - done)
    return (
        f"epoch {done}/{epochs}: loss {record['loss']:.4f}, training accuracy "
        f"{100 * record['train_accuracy']:.2f} %, {state.seconds / 60:.1f} min, "
        f"{left / 60:.1f} min left"
    )


def _state(
    learner: Learner, history: tuple[dict[str, float], ...], seconds: float
) -> TrainingState:
    weights, optimizer = (
        tuple(variable.numpy() for variable in owner.variables)
        for owner in (learner.model, learner.optimizer)
    )
    return TrainingState(weights, optimizer, history, seconds)


def _restore(learner: Learner, state: TrainingState) -> None:
    for owner, arrays in ((learner.model, state.weights), (learner.optimizer, state.optimizer)):
        for variable, array in zip(owner.variables, arrays, strict=True):
            variable.assign(array)
