"""`kgraft-export`: the student of a finished run exported again, verified and measured."""

import dataclasses
import pathlib

from kgraft.compress import QuantizedStudent
from kgraft.data.hashes import pixels_sha256
from kgraft.data_config import same_set
from kgraft.errors import KgraftError
from kgraft.export import DeviceInput, ExportedFile, Verification, check_folder
from kgraft.graph import Graph, trace_model
from kgraft.pipeline.apart import check_drawn_apart
from kgraft.pipeline.compression import read_quantized
from kgraft.pipeline.evaluation import (
    export_logits,
    graph_logits,
    measure_files,
    model_rows,
    report_batches,
    usable_files,
)
from kgraft.pipeline.exporting import device_input, export_folder, export_verified
from kgraft.pipeline.finished import FinishedRun, read_finished
from kgraft.pipeline.judging import judge, with_test_set
from kgraft.pipeline.keras_settings import usual_keras_settings
from kgraft.pipeline.reexport_config import ReexportConfig
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.test_set import TestSet, check_test_set, open_test_set, present_classes
from kgraft.pipeline.transfer import (
    Transfer,
    class_names,
    open_transfer,
    with_extra,
    without_pixels,
)
from kgraft.report import (
    ModelRow,
    RunReport,
    Skipped,
    peak_memory_mb,
    versions,
    write_report,
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """A finished run with its images drawn again."""

    run: FinishedRun
    graph: Graph
    transfer: Transfer
    test: TestSet | None
    names: tuple[str, ...] | None
    quantized: QuantizedStudent | None


@usual_keras_settings()
def export_again(config: ReexportConfig, watch: Stopwatch) -> tuple[RunReport, pathlib.Path]:
    """Exports the student of a finished run, calibrated on the run's own transfer images.

    Args:
        config: the settings.
        watch: times the parts.

    Returns:
        The report, which is also in the export folder, and that folder. Whether every file may be
        used is for `check_verified` to say.

    Raises:
        KgraftError: the work folder is not that of a finished run, or its images are no longer
            there or others.
        KgraftError: the export folder holds other things, or a format cannot be written.
    """
    workdir = pathlib.Path(config.workdir)
    folder = pathlib.Path(config.output) if config.output else export_folder(workdir)
    check_folder(folder)
    work = _open(config, workdir, watch)
    takes = device_input(config.export, work.run.preprocess, work.transfer.resize)
    files, verifications = export_verified(
        work.run.model,
        work.transfer,
        config.export,
        takes=takes,
        names=work.names,
        folder=folder,
        watch=watch,
        quantized=work.quantized,
    )
    skipped: list[Skipped] = []
    usable = usable_files(files, verifications)
    rows, verifications = _measure(
        work, (files, usable), verifications, config, takes=takes, skipped=skipped, watch=watch
    )
    report = RunReport(
        models=rows,
        phases=(),
        transfer={"images": len(work.transfer.images.ids), "sha256": work.run.sha256},
        seconds=watch.whole(),
        flags=dataclasses.asdict(config),
        versions=versions(),
        seeds={},
        verification=verifications,
        skipped=tuple(skipped),
        evaluation=f"{_evaluated_on(work)}; agreement is with the student",
        peak_memory_mb=peak_memory_mb(),
    )
    write_report(report, folder)
    return report, folder


def _open(config: ReexportConfig, workdir: pathlib.Path, watch: Stopwatch) -> _Work:
    with watch.part("student", f"opening the finished run in {workdir}"):
        run = read_finished(workdir)
        graph = trace_model(run.model)
        _check_compressed(run, config.export.formats, workdir)
        wanted = "int8_qat" in config.export.formats
        quantized = read_quantized(run.model, run.compress, workdir) if wanted else None
    data = dataclasses.replace(run.data, **config.moved())
    with watch.part("data", f"drawing its transfer images from {data.dataset}"):
        test = open_test_set(data, graph)
        # Files are calibrated and verified on the transfer images alone.
        plain = dataclasses.replace(data, extra_dataset=None, mixed_views=0)
        transfer = open_transfer(plain, graph)
        _check_same(run, transfer, data.dataset, workdir)
        # Nothing else of a run is of its extra images, so they are drawn for this alone.
        tested = same_set(data.extra_dataset, data.eval_dataset)
        check_drawn_apart(data, with_extra(transfer, data, graph) if tested else transfer, test)
        classes = graph.output_shape[-1] or 0
        names = class_names(data, transfer.images, test, classes)
        if test is not None:
            check_test_set(test, transfer.size, names, classes=classes)
    return _Work(run, graph, without_pixels(transfer), test, names, quantized)


def _check_compressed(run: FinishedRun, formats: tuple[str, ...], workdir: pathlib.Path) -> None:
    done = {"sparse": "pruned", "int8_qat": "trained in int8"}
    for name in run.compress.lacking(formats):
        raise KgraftError(
            f"--formats={name} needs a student that was {done[name]}; that of the run in {workdir} "
            f"was not (--compress={run.compress.compress}): leave {name} out"
        )


def _check_same(run: FinishedRun, transfer: Transfer, dataset: str, workdir: pathlib.Path) -> None:
    found = transfer.images
    # Rows of an .npz have the same ids whatever they show. Those of files are their names, and
    # another machine may decode a JPEG a little otherwise.
    by_row = dataset.startswith("npz:") and run.pixels_sha256
    if found.sha256 != run.sha256 or (by_row and by_row != pixels_sha256(found.images)):
        raise KgraftError(
            f"the images drawn from {dataset} are not those of the run in {workdir}, which are in "
            "its transfer.json: give the data set as it was then by --dataset or --data_dir"
        )


def _measure(
    work: _Work,
    files: tuple[tuple[ExportedFile, ...], tuple[ExportedFile, ...]],
    verifications: tuple[Verification, ...],
    config: ReexportConfig,
    *,
    takes: DeviceInput,
    skipped: list[Skipped],
    watch: Stopwatch,
) -> tuple[tuple[ModelRow, ...], tuple[Verification, ...]]:
    """Measures all files, and those that run on the test set too."""
    every, usable = files
    with watch.part("evaluation", f"evaluating on {_evaluated_on(work)}"):
        judged = judge(
            {"student": graph_logits(work.graph), **export_logits(usable)},
            report_batches(work.transfer, work.test, work.names, skipped),
            preprocessing=work.run.preprocess,
            on_pixels=[file.name for file in usable] if takes.inside else (),
            present=present_classes(work.test, work.names),
            reference="student",
        )
    with watch.part("latency", "measuring milliseconds"):
        measured = measure_files({"student": work.run.model}, usable, skipped)
    if work.test is not None:
        verifications = with_test_set(verifications, judged, config.export.min_agreement)
    return model_rows({"student": work.graph}, every, judged, measured), verifications


def _evaluated_on(work: _Work) -> str:
    if work.test is None:
        return f"{len(work.transfer.heldout)} held-out views, without labels"
    return f"the test set {work.test.source.name}"
