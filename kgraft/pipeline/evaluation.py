"""The table of the report: every model on the same images, in one pass over them."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kgraft.data import CorruptImage, eval_batches
from kgraft.data.preprocess import preprocess
from kgraft.errors import KgraftError
from kgraft.export import ExportedFile, TFLiteRunner, float32_bytes, measure_latencies
from kgraft.graph import Graph, total_macs
from kgraft.pipeline.transfer import TestSet, Transfer
from kgraft.report import ModelRow, Skipped

_BATCH = 64
Logits = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A model's predictions held against the teacher's and the labels.

    Attributes:
        accuracy: share of images classified rightly; None without labels.
        agreement: share of images with the teacher's class.
        among: accuracy when only the logits of the test set's classes count; None where these are
            all the classes, or without labels.
    """

    accuracy: float | None
    agreement: float
    among: float | None = None


def graph_logits(graph: Graph) -> Logits:
    """Compiles a graph into a function of preprocessed images, `[n, ...]` to `[n, classes]`."""
    signature = [tf.TensorSpec([None, *graph.input_shape[1:]], tf.float32)]
    run = tf.function(lambda x: graph(x), input_signature=signature, autograph=False)
    return lambda images: run(images).numpy()


def export_logits(files: Sequence[ExportedFile]) -> dict[str, Logits]:
    """Opens every exported file for evaluation, by name."""
    threads = os.cpu_count() or 1
    return {
        file.name: saved_model_logits(file.path)
        if file.format == "saved_model"
        else TFLiteRunner(file.path, threads)
        for file in files
    }


def saved_model_logits(path: str) -> Logits:
    """Opens a SavedModel's `serving_default`, which takes one image at a time."""
    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]
    threads = os.cpu_count() or 1

    def logits(image: tf.Tensor) -> tf.Tensor:
        return serve(image=image[tf.newaxis])["logits"][0]

    # One call for many images: a call of its own for each costs as much as a small model's work.
    @tf.function(autograph=False)
    def many(images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(logits, images, parallel_iterations=threads)

    shape = serve.inputs[0].shape
    run = many.get_concrete_function(tf.TensorSpec([None, *shape[1:]], tf.float32))

    def found(images: np.ndarray) -> np.ndarray:
        # The signature is the loaded object's; the closure keeps both alive.
        assert loaded is not None
        return run(tf.constant(images)).numpy()

    return found


def judge(
    models: Mapping[str, Logits],
    batches: Iterator[tuple[np.ndarray, np.ndarray | None]],
    *,
    preprocessing: str,
    present: np.ndarray | None = None,
) -> dict[str, Judged]:
    """Runs all models over the same images once.

    Args:
        models: by name, `teacher` among them; preprocessed images to logits.
        batches: pixels 0..255 `[batch, height, width, channels]`, labels `[batch]` or None.
        preprocessing: name of what turns pixels into the models' input.
        present: logits of the classes the images are of, `[classes present]`; None for all.

    Returns:
        Each model's accuracy and agreement.

    Raises:
        KgraftError: there is no image, or a label without a logit.
    """
    right: dict[str, int] = dict.fromkeys(models, 0)
    same: dict[str, int] = dict.fromkeys(models, 0)
    among: dict[str, int] = dict.fromkeys(models, 0)
    count, labelled = 0, 0
    for images, labels in batches:
        inputs = np.asarray(preprocess(images, preprocessing), "float32")
        logits = {name: run(inputs) for name, run in models.items()}
        _check_labels(labels, logits["teacher"])
        classes = {name: found.argmax(axis=1) for name, found in logits.items()}
        count += len(inputs)
        for name, predicted in classes.items():
            same[name] += int(np.sum(predicted == classes["teacher"]))
            if labels is not None:
                right[name] += int(np.sum(predicted == labels))
            if labels is not None and present is not None:
                picked = present[logits[name][:, present].argmax(axis=1)]
                among[name] += int(np.sum(picked == labels))
        labelled += 0 if labels is None else len(labels)
    if not count:
        raise KgraftError("there is no image to evaluate on: give a test set with images")
    return {
        name: Judged(
            accuracy=right[name] / labelled if labelled else None,
            agreement=same[name] / count,
            among=among[name] / labelled if labelled and present is not None else None,
        )
        for name in models
    }


def _check_labels(labels: np.ndarray | None, logits: np.ndarray) -> None:
    if labels is not None and labels.max() >= logits.shape[1]:
        raise KgraftError(
            f"the test set has label {labels.max()}, the teacher only the logits 0 to "
            f"{logits.shape[1] - 1}: give the test set that belongs to the teacher"
        )


def report_batches(
    transfer: Transfer,
    test: TestSet | None,
    names: tuple[str, ...] | None,
    skipped: list[Skipped],
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yields what the table is measured on: the test set, or the held-out views without one.

    Args:
        transfer: for the size of images and the held-out views.
        test: the test set, or None.
        names: names of the logits, to find those of the test set's classes.
        skipped: images that cannot be decoded are added here.
    """
    if test is None:
        for start in range(0, len(transfer.heldout), _BATCH):
            yield transfer.heldout[start : start + _BATCH], None
        return

    def note(image: CorruptImage) -> None:
        skipped.append(Skipped("test image", str(image)))

    yield from eval_batches(
        test.source,
        size=transfer.size,
        resize=test.resize,
        batch=_BATCH,
        label_names=names,
        on_corrupt=note,
    )


def measure_files(
    models: Mapping[str, keras.Model], usable: Sequence[ExportedFile], skipped: list[Skipped]
) -> tuple[dict[str, int], dict[str, float]]:
    """Measures bytes and milliseconds, all in LiteRT.

    Args:
        models: `teacher` and `student`, measured as float32 TFLite files of their own.
        usable: the exported files that run.
        skipped: a model that cannot be converted is added here.

    Returns:
        Bytes and median milliseconds by name.
    """
    contents: dict[str, bytes | str] = {}
    sizes = {file.name: file.bytes for file in usable}
    # The student's own float32 file is what converting it again would give.
    paths = [pathlib.Path(file.path) for file in usable if file.format == "float32"]
    for name, model in models.items():
        try:
            made = name == "student" and paths
            contents[name] = data = paths[0].read_bytes() if made else float32_bytes(model)
            sizes[name] = len(data)
        except KgraftError as error:
            skipped.append(Skipped(f"bytes and milliseconds of the {name}", str(error)))
    contents |= {f.name: f.path for f in usable if pathlib.Path(f.path).suffix == ".tflite"}
    try:
        return sizes, measure_latencies(contents)
    except KgraftError as error:
        skipped.append(Skipped("milliseconds", str(error)))
        return sizes, {}


def model_rows(
    graphs: Mapping[str, Graph],
    files: Sequence[ExportedFile],
    judged: Mapping[str, Judged],
    measured: tuple[dict[str, int], dict[str, float]],
) -> tuple[ModelRow, ...]:
    """Puts the table together.

    Args:
        graphs: `teacher` and `student`.
        files: the exported files, each with the student's parameters and multiply-adds.
        judged: accuracy and agreement by name; a name that is missing has none.
        measured: bytes and milliseconds by name.
    """
    sizes, latencies = measured
    rows = []
    for name in [*graphs, *(file.name for file in files)]:
        graph = graphs.get(name, graphs["student"])
        found = judged.get(name)
        rows.append(
            ModelRow(
                name=name,
                accuracy=found.accuracy if found else None,
                agreement=found.agreement if found else None,
                parameters=graph.parameters,
                macs=total_macs(graph),
                bytes=sizes.get(name),
                latency_ms=latencies.get(name),
                accuracy_among=found.among if found else None,
            )
        )
    return tuple(rows)
