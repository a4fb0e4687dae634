"""The report as Markdown, for people."""

from collections.abc import Mapping
from typing import Any

from kgraft.grafting import PhaseResult
from kgraft.report.exports import exports_section
from kgraft.report.markdown_parts import escaped, section, shown, table
from kgraft.report.records import RunReport
from kgraft.report.table import UNKNOWN, table_cells


def to_markdown(report: RunReport) -> str:
    """Renders the report as Markdown.

    Args:
        report: the run's report.

    Returns:
        The document: models, phases, exports, what was left out, the images, times, settings.
    """
    sections = (
        _models(report),
        _phases(report),
        _compression(report),
        exports_section(report.verification),
        _left_out(report),
        section("Transfer images", _facts(report.transfer)),
        _seconds(report),
        section("Settings", _facts(_flat(report.flags))),
        section("Seeds", _facts(report.seeds)),
        section("Versions", _facts(report.versions)),
    )
    return "# kgraft report\n\n" + "\n".join(part for part in sections if part)


def _models(report: RunReport) -> str:
    headings, *cells = table_cells(report.models)
    notes = [
        "Size and latency of teacher and student are those of a float32 TFLite file; latency is "
        "the median of one image on one thread of the machine the run was made on, in LiteRT (of "
        "an ONNX file in ONNX Runtime)."
    ]
    if report.evaluation:
        notes.insert(0, f"Accuracy and agreement: {report.evaluation}.")
    return section("Models", table(headings, cells), *notes)


def _phases(report: RunReport) -> str:
    headings = (
        "phase",
        "blocks",
        "steps",
        "kept step",
        "seconds",
        "of them compiling",
        "computed in",
        "loss, start to end",
        "held-out loss, start to kept",
        "held-out agreement %, start to kept",
    )
    rows = [_phase_cells(phase) for phase in report.phases]
    if not rows and not report.selection_rule:
        return ""  # Files made again of a student: the report of its run tells of its phases.
    body = table(headings, rows) if rows else "No phase was trained."
    rule = f"Weights kept: {report.selection_rule}." if report.selection_rule else ""
    return section("Phases", body, rule)


def _phase_cells(phase: PhaseResult) -> tuple[str, ...]:
    return (
        phase.name,
        ", ".join(str(block) for block in phase.blocks),
        str(phase.steps),
        shown(phase.kept_step),
        f"{phase.seconds:.1f}",
        f"{phase.compile_seconds:.1f}",
        _computed_in(phase),
        _range(phase.loss_start, phase.loss_end),
        _range(phase.heldout_loss_start, phase.heldout_loss_end),
        _range(phase.heldout_agreement_start, phase.heldout_agreement_end, percent=True),
    )


def _computed_in(phase: PhaseResult) -> str:
    if phase.fake_quant == "none":
        return phase.dtype
    return f"{phase.dtype}, rounded to {phase.fake_quant}"


def _compression(report: RunReport) -> str:
    if not report.compression:
        return ""
    headings = ("technique", "layers", "zeros in their kernels %", "most values in a kernel")
    rows = [
        (found.technique, str(found.layers), f"{100 * found.sparsity:.2f}", shown(found.distinct))
        for found in report.compression
    ]
    left = [
        f"- {found.technique} leaves `{layer.name}` alone: {layer.why}"
        for found in report.compression
        for layer in found.left
    ]
    return section("Compression", table(headings, rows), "\n".join(left))


def _left_out(report: RunReport) -> str:
    adapters = [
        f"- adapter `{left.name}` stays in the student: {left.why}" for left in report.adapters_left
    ]
    skipped = [f"- {skip.what}: {skip.why}" for skip in report.skipped]
    lines = [*adapters, *skipped]
    return section("Left over and left out", "\n".join(lines) if lines else "Nothing.")


def _seconds(report: RunReport) -> str:
    whole = sum(report.seconds.values())
    parts = {**report.seconds, "all": whole}
    rows = [
        (part, f"{taken:.1f}", f"{100 * taken / whole if whole else 0:.1f}")
        for part, taken in parts.items()
    ]
    memory = report.peak_memory_mb
    peak = "" if memory is None else f"Peak memory: {memory:,.0f} MiB."
    return section("Time and memory", table(("part", "seconds", "%"), rows), peak)


def _facts(facts: Mapping[str, Any]) -> str:
    lines = [f"- {name}: {escaped(shown(value))}" for name, value in facts.items()]
    return "\n".join(lines) if lines else "None."


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _range(start: float | None, end: float | None, *, percent: bool = False) -> str:
    return " to ".join(_percent(v) if percent else shown(v) for v in (start, end))


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.2f}"
