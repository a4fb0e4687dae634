"""The table of the report: every model on the same images, in one pass over them."""

import dataclasses
import gzip
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kgraft.config import ONNX
from kgraft.data import CorruptImage, eval_batches
from kgraft.errors import KgraftError
from kgraft.export import (
    SIDE_BY_SIDE,
    ExportedFile,
    OnnxRunner,
    TFLiteRunner,
    Verification,
    float32_bytes,
    measure_latencies,
)
from kgraft.graph import Graph, total_macs
from kgraft.pipeline.judging import Judged, Logits
from kgraft.pipeline.test_set import TestSet
from kgraft.pipeline.transfer import Transfer
from kgraft.report import ModelRow, Skipped

_BATCH = 64


def graph_logits(graph: Graph) -> Logits:
    """Compiles a graph into a function of preprocessed images, `[n, ...]` to `[n, classes]`."""
    signature = [tf.TensorSpec([None, *graph.input_shape[1:]], tf.float32)]
    function = tf.function(lambda x: graph(x), input_signature=signature, autograph=False)
    # Concrete: TensorFlow warns of retracing where there is one function a student of a search.
    run = function.get_concrete_function()

    def logits(images: np.ndarray) -> np.ndarray:
        # The closure keeps the graph's variables alive.
        assert graph is not None
        return run(tf.constant(images)).numpy()

    return logits


def export_logits(files: Sequence[ExportedFile]) -> dict[str, Logits]:
    """Opens every exported file for evaluation, by name."""
    return {file.name: _opened(file) for file in files}


def _opened(file: ExportedFile) -> Logits:
    if file.format == "saved_model":
        return saved_model_logits(file.path)
    open_file = OnnxRunner if file.format == ONNX else TFLiteRunner
    return open_file(file.path, SIDE_BY_SIDE)


def saved_model_logits(path: str) -> Logits:
    """Opens a SavedModel's `serving_default`, which takes one image at a time."""
    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]

    def logits(image: tf.Tensor) -> tf.Tensor:
        return serve(image=image[tf.newaxis])["logits"][0]

    # One call for many images: a call of its own for each costs as much as a small model's work.
    # In it one image at a time, as `grafting.step` does batches.
    @tf.function(autograph=False)
    def many(images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(logits, images, parallel_iterations=1)

    shape = serve.inputs[0].shape
    run = many.get_concrete_function(tf.TensorSpec([None, *shape[1:]], tf.float32))

    def found(images: np.ndarray) -> np.ndarray:
        # The signature is the loaded object's; the closure keeps both alive.
        assert loaded is not None
        return run(tf.constant(images)).numpy()

    return found


def usable_files(
    files: Sequence[ExportedFile], verifications: Sequence[Verification]
) -> tuple[ExportedFile, ...]:
    """Returns the files that run at all."""
    checked = zip(files, verifications, strict=True)
    return tuple(file for file, found in checked if found.max_abs_difference is not None)


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
    """Measures bytes and milliseconds, each file's in its own runtime.

    Args:
        models: `teacher` and `student`, measured as float32 TFLite files of their own.
        usable: the exported files that run.
        skipped: a model that cannot be converted is added here.

    Returns:
        Bytes and median milliseconds by name.
    """
    contents: dict[str, bytes | str] = {}
    sizes = {file.name: file.bytes for file in usable}
    # The exported float32 file will not do: it has labels and metadata, which the teacher has not.
    for name, model in models.items():
        try:
            contents[name] = data = float32_bytes(model)
            sizes[name] = len(data)
        except KgraftError as error:
            skipped.append(Skipped(f"bytes and milliseconds of the {name}", str(error)))
    # A SavedModel is a folder, for servers.
    contents |= {f.name: f.path for f in usable if pathlib.Path(f.path).is_file()}
    try:
        return sizes, measure_latencies(contents)
    except KgraftError as error:
        skipped.append(Skipped("milliseconds", str(error)))
        return sizes, {}


def with_zipped(rows: Sequence[ModelRow], usable: Sequence[ExportedFile]) -> tuple[ModelRow, ...]:
    """Adds what the files come to when they are compressed, which is where zeros tell.

    Args:
        rows: the table.
        usable: the exported files that run.
    """
    sizes = {
        file.name: len(gzip.compress(pathlib.Path(file.path).read_bytes(), mtime=0))
        for file in usable
        if pathlib.Path(file.path).is_file()
    }
    return tuple(dataclasses.replace(row, gzip_bytes=sizes.get(row.name)) for row in rows)


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
