"""The student handed over: exported, verified, measured and reported."""

import dataclasses
import json
import pathlib
from typing import Any

import keras

from kgraft.compress import Compressed
from kgraft.config import ExportConfig, RunConfig
from kgraft.export import DeviceInput, ExportedFile, Verification
from kgraft.grafting import FusedStudent, PhaseResult
from kgraft.graph import Graph, as_model, trace_model
from kgraft.pipeline.evaluation import (
    export_logits,
    graph_logits,
    measure_files,
    model_rows,
    report_batches,
    usable_files,
    with_zipped,
)
from kgraft.pipeline.exporting import device_input, export_folder, export_verified
from kgraft.pipeline.job import Job
from kgraft.pipeline.judging import judge, with_test_set
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.test_set import present_classes
from kgraft.pipeline.training import SELECTION_RULES
from kgraft.pipeline.workdir import STUDENT, save_model
from kgraft.report import (
    JSON_NAME,
    MARKDOWN_NAME,
    ModelRow,
    RunReport,
    Skipped,
    peak_memory_mb,
    versions,
)
from kgraft.students import StudentBlock


@dataclasses.dataclass(frozen=True)
class Delivery:
    """What was handed over.

    Attributes:
        model: the Keras student, compressed where that was asked for.
        fused: the student before that as a graph, with what could not be folded.
        compressed: what compressing did.
        files: the exported files.
        takes: what they take.
        verifications: each file against the Keras student, on held-out views.
    """

    model: keras.Model
    fused: FusedStudent
    compressed: Compressed
    files: tuple[ExportedFile, ...]
    takes: DeviceInput
    verifications: tuple[Verification, ...]


def deliver(
    job: Job,
    fused: FusedStudent,
    compressed: Compressed,
    config: RunConfig,
    *,
    workdir: pathlib.Path,
    watch: Stopwatch,
) -> Delivery:
    """Writes the student in every format and verifies each file.

    Args:
        job: the input of the run.
        fused: the fused student.
        compressed: the same, compressed where that was asked for.
        config: the settings.
        workdir: where the files go.
        watch: times the parts.

    Raises:
        KgraftError: a format cannot be written.
    """
    model = compressed.model
    _forget_report_of_other("compress", workdir, config)
    save_model(model, workdir / STUDENT)
    takes = device_input(config.export, job.teacher.preprocess, job.transfer.resize)
    files, verifications = export_verified(
        model,
        job.transfer,
        config.export,
        takes=takes,
        names=job.names,
        folder=export_folder(workdir),
        watch=watch,
        quantized=compressed.quantized,
        on_written=lambda: _forget_report_of_other("export", workdir, config),
    )
    return Delivery(model, fused, compressed, files, takes, verifications)


def _forget_report_of_other(part: str, workdir: pathlib.Path, config: RunConfig) -> None:
    """Removes the report where its settings of a part of the run are not these.

    A run may be gone on with to another third stage or to other formats, and stopped before it has
    its own report. That of a student goes before the student, that of exports when they are
    replaced: they stay where no others can be made.
    """
    path = workdir / JSON_NAME
    if not path.exists():
        return
    wanted = json.loads(json.dumps(config.to_dict()[part]))
    try:
        same = json.loads(path.read_text(encoding="utf-8"))["flags"][part] == wanted
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        for name in (JSON_NAME, MARKDOWN_NAME):
            (workdir / name).unlink(missing_ok=True)


def make_report(
    job: Job,
    delivery: Delivery,
    config: RunConfig,
    *,
    student: tuple[StudentBlock, ...],
    results: tuple[PhaseResult, ...],
    watch: Stopwatch,
) -> RunReport:
    """Measures every model and puts the report together; the first time a test image is read.

    Args:
        job: the input of the run.
        delivery: the student and its files.
        config: the settings.
        student: the student blocks, for what was noted when they were made.
        results: what each phase did.
        watch: times of the parts.

    Raises:
        KgraftError: the test set does not fit the teacher.
    """
    drawn = {"transfer image": job.transfer.images, "extra image": job.transfer.extra}
    skipped = [
        Skipped(kind, f"{name} cannot be read")
        for kind, images in drawn.items()
        for name in (images.skipped if images else ())
    ]
    skipped += [Skipped(block.name, note) for block in student for note in block.notes]
    skipped += [Skipped(f"folding of {left.name}", left.why) for left in delivery.fused.norms_left]
    rows, verifications = _measure(job, delivery, skipped, config.export, watch=watch)
    return RunReport(
        models=rows,
        phases=(*results, *delivery.compressed.results),
        compression=delivery.compressed.outcomes,
        transfer={
            "images": len(job.transfer.images.ids),
            "sha256": job.transfer.images.sha256,
            "resize": job.transfer.resize,
            **_extra_facts(job),
            "views": len(job.transfer.views),
            **_mixed_facts(job),
            **_fresh_facts(config),
            "heldout": f"{len(job.transfer.heldout)}: {job.transfer.heldout_note}",
        },
        seconds=watch.whole(),
        flags=_resolved(job, config),
        versions=versions(),
        seeds={"draw, views, weights and training order": config.data.seed},
        adapters_left=delivery.fused.adapters_left,
        verification=verifications,
        skipped=tuple(skipped),
        selection_rule=SELECTION_RULES[config.train.select],
        evaluation=f"{_evaluated_on(job)}; teacher: {job.teacher.logits_note}",
        peak_memory_mb=peak_memory_mb(),
    )


def _mixed_facts(job: Job) -> dict[str, Any]:
    mixed = job.transfer.mixed
    return {"of them mixed": mixed} if mixed else {}


def _extra_facts(job: Job) -> dict[str, Any]:
    extra = job.transfer.extra
    return {"extra images": len(extra.ids), "extra sha256": extra.sha256} if extra else {}


def _fresh_facts(config: RunConfig) -> dict[str, Any]:
    count = config.compress.compress_views if config.compress.techniques else 0
    told = f"{count} fresh ones of each transfer image, mixed ones in proportion"
    return {"views of the third stage": told} if count else {}


def _resolved(job: Job, config: RunConfig) -> dict[str, Any]:
    """The settings with what `auto` and a count of blocks came to."""
    flags = config.to_dict()
    flags["teacher"] |= {"preprocess": job.teacher.preprocess, "cuts": list(job.chain.cuts)}
    flags["data"] |= {"mixed_views": job.transfer.mixed}
    return flags


def _measure(
    job: Job,
    delivery: Delivery,
    skipped: list[Skipped],
    config: ExportConfig,
    *,
    watch: Stopwatch,
) -> tuple[tuple[ModelRow, ...], tuple[Verification, ...]]:
    graphs = _graphs(job, delivery)
    usable = usable_files(delivery.files, delivery.verifications)
    with watch.part("evaluation", f"evaluating on {_evaluated_on(job)}"):
        judged = judge(
            {name: graph_logits(graph) for name, graph in graphs.items()} | export_logits(usable),
            report_batches(job.transfer, job.test, job.names, skipped),
            preprocessing=job.teacher.preprocess,
            on_pixels=[file.name for file in usable] if delivery.takes.inside else (),
            present=present_classes(job.test, job.names),
        )
    with watch.part("latency", "measuring milliseconds"):
        models = {name: as_model(graph, name=name) for name, graph in graphs.items()}
        measured = measure_files(models, usable, skipped)
    verifications = delivery.verifications
    if job.test is not None:
        verifications = with_test_set(verifications, judged, config.min_agreement)
    rows = model_rows(graphs, delivery.files, judged, measured)
    return with_zipped(rows, usable) if delivery.compressed.outcomes else rows, verifications


def _graphs(job: Job, delivery: Delivery) -> dict[str, Graph]:
    """The models of the table; the student before it was pruned or clustered is one of its own."""
    graphs = {"teacher": job.chain.graph, "student": delivery.fused.graph}
    if {found.technique for found in delivery.compressed.outcomes} - {"quantize"}:
        graphs["fused"] = graphs["student"]
        graphs["student"] = trace_model(delivery.model)
    return graphs


def _evaluated_on(job: Job) -> str:
    if job.test is None:
        return f"{len(job.transfer.heldout)} held-out views, without labels"
    return f"the test set {job.test.source.name}"
