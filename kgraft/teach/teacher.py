"""`teach`: from a labelled set to a trained teacher in one `.keras` file."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

import kgraft
from kgraft.data import CorruptImage
from kgraft.data.write import writing_aside
from kgraft.teach.checkpoint import TrainingState
from kgraft.teach.config import TeachConfig
from kgraft.teach.loop import train
from kgraft.teach.prepare import Training, check_paths, prepare, test_batches
from kgraft.teach.step import accuracy, make_learner

REPORT = "teach.json"


@dataclasses.dataclass(frozen=True)
class TeachResult:
    """A finished training.

    Attributes:
        output: the `.keras` file.
        parameters: trainable parameters of the model.
        accuracy: part of the test images that are right, in 0..1; None without any.
        test_images_skipped: how many test images cannot be decoded and are left out.
        history: one record for each epoch: `epoch`, `loss`, `train_accuracy`, `rate`.
        seconds: seconds of training, resumed parts added up.
    """

    output: pathlib.Path
    parameters: int
    accuracy: float | None
    test_images_skipped: int
    history: tuple[dict[str, float], ...]
    seconds: float


def teach(config: TeachConfig, *, say: Callable[[str], None] = print) -> TeachResult:
    """Trains a teacher, writes it, and tests it once.

    The weights are the last epoch's: no test label has a part in them.

    Args:
        config: all settings.
        say: takes one line of progress at a time.

    Returns:
        What was made; the same is in `teach.json` in the work folder.

    Raises:
        KgraftError: the work folder or the output cannot be used, the data cannot be trained on,
            the model is not one, or the loss is no longer finite.
    """
    check_paths(config)
    training = prepare(config)
    for folder in (pathlib.Path(config.workdir), pathlib.Path(config.output).parent):
        folder.mkdir(parents=True, exist_ok=True)
    state = _train(config, training, say=say)
    # Before the test, so that whatever happens in it the training was not for nothing.
    output = pathlib.Path(config.output)
    with writing_aside(output) as aside:
        training.model.save(aside)
    skipped: list[CorruptImage] = []
    batches = test_batches(training, config, on_corrupt=skipped.append)
    right = None if batches is None else accuracy(training.model, batches)
    result = TeachResult(
        output=output,
        parameters=count_parameters(training.model),
        accuracy=right,
        test_images_skipped=len(skipped),
        history=state.history,
        seconds=state.seconds,
    )
    _write_report(result, config, training)
    if skipped:
        say(f"{len(skipped)} test images are left out: {skipped[0]}")
    say(summary(result))
    return result


def summary(result: TeachResult) -> str:
    """Returns the result in one line.

    Args:
        result: the finished training.
    """
    right = "not tested" if result.accuracy is None else f"{100 * result.accuracy:.2f} %"
    return (
        f"{result.output}: {result.parameters:,} parameters, test accuracy {right}, "
        f"{len(result.history)} epochs in {result.seconds / 60:.1f} min"
    )


def set_precision(model: keras.Model, precision: str) -> None:
    """Sets what the layers compute in; variables and logits stay float32.

    Args:
        model: changed in place; its last layer, the logits', is left as it is.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`.
    """
    for layer in model.layers[:-1]:
        layer.dtype_policy = keras.DTypePolicy(precision)


def count_parameters(model: keras.Model) -> int:
    """Returns the number of trainable parameters.

    Args:
        model: the model.
    """
    return sum(int(tf.size(variable.value)) for variable in model.trainable_variables)


def _train(config: TeachConfig, training: Training, *, say: Callable[[str], None]) -> TrainingState:
    model = training.model
    say(f"{model.name}: {count_parameters(model):,} parameters, {len(training.images):,} images")
    set_precision(model, config.precision)
    learner = make_learner(
        model,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        scale_loss=config.precision == "mixed_float16",
    )
    state = train(learner, training.images, config, say=say)
    set_precision(model, "float32")
    return state


def _write_report(result: TeachResult, config: TeachConfig, training: Training) -> None:
    report: dict[str, Any] = {
        **dataclasses.asdict(result),
        "output": str(result.output),
        "training_images": len(training.images),
        "class_names": training.images.source.class_names,
        "settings": config.to_dict(),
        "versions": {
            "kgraft": kgraft.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    path = pathlib.Path(config.workdir) / REPORT
    with writing_aside(path) as aside:
        aside.write_text(json.dumps(report, indent=2) + "\n")
