"""Checks and opens all that a training needs, before the first update."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from kgraft.data import CorruptImage, Source, check_fits, eval_batches, open_source, resolve_resize
from kgraft.data_config import Place, same_images, same_set
from kgraft.errors import KgraftError
from kgraft.teach.checkpoint import FILE as CHECKPOINT
from kgraft.teach.checkpoint import load_output
from kgraft.teach.config import TeachConfig
from kgraft.teach.images import TrainingImages, check_labelled, check_labels, hold_images
from kgraft.zoo import build, find_builder, load_teacher

EVAL_BATCH = 250
OWN_TEST = ("tfds:", "embedded:")


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training works with.

    Attributes:
        model: pixels 0..255 `[batch, height, width, channels]` to logits `[batch, classes]`.
        images: the training images.
        test: the test set; None for none.
    """

    model: keras.Model
    images: TrainingImages
    test: Source | None


def check_paths(config: TeachConfig) -> None:
    """Checks that the training may write where it is asked to.

    Args:
        config: the settings.

    Raises:
        KgraftError: the work folder is a file, or has something in it that is not to be resumed.
        KgraftError: the output exists, and nothing that would go on to it.
        KgraftError: the output exists, and what would go on has another.
        KgraftError: a folder cannot be written in.
    """
    workdir, output = pathlib.Path(config.workdir), pathlib.Path(config.output)
    if workdir.exists() and not workdir.is_dir():
        raise KgraftError(f"--workdir must be a folder; {workdir} is a file")
    if not config.resume and workdir.exists() and any(workdir.iterdir()):
        raise KgraftError(
            f"--workdir must be new or empty; {workdir} is not: choose another, or go on with "
            f"--resume"
        )
    if output.exists() and config.resume and not (workdir / CHECKPOINT).exists():
        raise KgraftError(
            f"--resume: there is nothing in {workdir} to go on with, and --output {output} exists, "
            "which a training from the beginning would replace: give the --workdir of the training "
            "that was stopped, or another --output"
        )
    if output.exists() and config.resume:
        _check_output_of(workdir, output)
    if output.is_dir() or (output.exists() and not config.resume):
        raise KgraftError(f"--output {output} exists: move it away, or choose another")
    for flag, folder in (("workdir", workdir), ("output", output.parent)):
        _check_writable(flag, folder.absolute())


def _check_output_of(workdir: pathlib.Path, output: pathlib.Path) -> None:
    """Refuses to replace what is not of the training that is gone on with."""
    own = load_output(workdir)
    if own and pathlib.Path(own) != output.resolve():
        raise KgraftError(
            f"--output {output} exists, and the training in {workdir} writes {own}: give that, or "
            "a path where there is nothing"
        )


def _check_writable(flag: str, folder: pathlib.Path) -> None:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise KgraftError(f"--{flag}: cannot write in {nearest}")


def prepare(config: TeachConfig) -> Training:
    """Opens the data and makes the model.

    Args:
        config: the settings.

    Returns:
        The model with its starting weights, and data that is checked to fit it.

    Raises:
        KgraftError: the model or the data cannot be opened, or do not fit each other.
    """
    model = None if config.model.startswith("zoo:") else _load(config.model)
    channels = _zoo_channels(config) if model is None else model.input_shape[-1]
    source = _open(config, config.dataset, config.split, config.data_dir, channels=channels)
    test = _open_test(config, channels)
    if test is not None:
        _check_apart(config, source, test)
    resize = resolve_resize(source, config.resize)
    if model is None:
        model = _build(config, source, resize)
    if test is not None:
        _check_fits(test, model, resolve_resize(test, config.resize))
        if test.class_names is None and test.labels is not None:
            check_labels(test, classes=model.output_shape[-1])
    training = Training(model, _training_images(config, source, model, resize), test)
    # Only opened, for its checks: no test image is read before the training is done.
    test_batches(training, config)
    return training


def test_batches(
    training: Training,
    config: TeachConfig,
    *,
    on_corrupt: Callable[[CorruptImage], None] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]] | None:
    """Returns the test set in batches, classes matched to logits by name where both are named.

    Args:
        training: the model and the data.
        config: the settings.
        on_corrupt: called with each image that cannot be decoded, which is then left out; None
            raises instead.

    Returns:
        Iterator of `(images, labels)`: uint8 `[batch, height, width, channels]` and int64
        `[batch]`; None without a test set.

    Raises:
        KgraftError: the test set has no labels, or a class that the training images have not.
    """
    if training.test is None:
        return None
    return eval_batches(
        training.test,
        size=training.model.input_shape[1:],
        resize=resolve_resize(training.test, config.resize),
        batch=EVAL_BATCH,
        label_names=training.images.source.class_names,
        on_corrupt=on_corrupt,
    )


def _zoo_channels(config: TeachConfig) -> int:
    return find_builder(config.model.removeprefix("zoo:")).input_shape[-1]


def _load(path: str) -> keras.Model:
    model = load_teacher(path).model
    activation = getattr(model.layers[-1], "activation", None)
    if isinstance(model.layers[-1], keras.layers.Softmax) or (
        activation is keras.activations.softmax
    ):
        raise KgraftError(
            f"{path} puts out probabilities; training needs logits: take the softmax off its end"
        )
    return model


def _build(config: TeachConfig, source: Source, resize: str) -> keras.Model:
    check_labelled(source)
    return build(
        config.model.removeprefix("zoo:"),
        classes=source.class_count,
        input_shape=source.image_shape if resize == "none" else None,
        seed=config.seed,
    )


def _open(
    config: TeachConfig, spec: str, split: str, data_dir: str | None, *, channels: int
) -> Source:
    return open_source(
        spec,
        split=split,
        data_dir=data_dir,
        manual_dir=config.manual_dir,
        download=config.download,
        channels=channels,
    )


def _open_test(config: TeachConfig, channels: int) -> Source | None:
    """Opens the test set; a folder or a plain .npz has no part of its own to test on."""
    if config.eval_split is None:
        return None
    if config.eval_dataset is None and not config.dataset.startswith(OWN_TEST):
        return None
    spec = config.eval_dataset or config.dataset
    data_dir = config.eval_data_dir or config.data_dir
    return _open(config, spec, config.eval_split, data_dir, channels=channels)


def _check_apart(config: TeachConfig, source: Source, test: Source) -> None:
    """Refuses to report accuracy on images that are trained on."""
    spec = config.eval_dataset or config.dataset
    folder = config.eval_data_dir or config.data_dir
    tested = Place(spec, config.eval_split or "", folder)
    same = same_images(Place(config.dataset, config.split, config.data_dir), tested)
    comparable = same_set(config.dataset, spec) and test.ids_span_splits
    if same or (comparable and not set(test.ids).isdisjoint(source.ids)):
        raise KgraftError(
            f"the test set {spec}, split {config.eval_split}, holds images that are trained on "
            f"(--dataset={config.dataset} --split={config.split}): give a test set apart from "
            "them, or --eval_split=none"
        )


def _check_fits(source: Source, model: keras.Model, resize: str) -> None:
    if source.image_shape is not None:
        check_fits(source.image_shape, size=model.input_shape[1:], resize=resize, name=source.name)


def _training_images(
    config: TeachConfig, source: Source, model: keras.Model, resize: str
) -> TrainingImages:
    shape, classes = model.input_shape[1:], model.output_shape[-1]
    labels = check_labels(source, classes=classes)
    if len(labels) < config.batch:
        raise KgraftError(
            f"--batch must be at most the {len(labels)} training images; got {config.batch}"
        )
    held = None
    # The random crops of `imagenet` are cut from the images as they are, before any resizing.
    if config.augment != "imagenet":
        _check_fits(source, model, resize)
        held = hold_images(source, shape=shape, resize=resize, memory_mb=config.memory_mb)
    return TrainingImages(
        source=source,
        labels=labels,
        held=held,
        shape=shape,
        resize=resize,
        augment=config.augment,
        crop_padding=config.crop_padding,
        batch=config.batch,
        seed=config.seed,
    )
