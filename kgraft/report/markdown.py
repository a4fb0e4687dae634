"""The report as Markdown, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.export import Verification
from kgraft.report.json_report import plain
from kgraft.report.records import PhaseRecord, RunReport
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
        _exports(report.verification),
        _left_out(report),
        _section("Transfer images", _facts(report.transfer)),
        _seconds(report),
        _section("Settings", _facts(_flat(report.flags))),
        _section("Seeds", _facts(report.seeds)),
        _section("Versions", _facts(report.versions)),
    )
    return "# kgraft report\n\n" + "\n".join(section for section in sections if section)


def _models(report: RunReport) -> str:
    headings, *cells = table_cells(report.models)
    table = _table(headings, cells)
    notes = [
        "Size and latency of teacher and student are those of a float32 TFLite file; latency is "
        "the median of one image in LiteRT on one thread of the machine the run was made on."
    ]
    if report.evaluation:
        notes.insert(0, f"Accuracy and agreement: {report.evaluation}.")
    return _section("Models", table, *notes)


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
    body = _table(headings, rows) if rows else "No phase was trained."
    rule = f"Weights kept: {report.selection_rule}." if report.selection_rule else ""
    return _section("Phases", body, rule)


def _phase_cells(phase: PhaseRecord) -> tuple[str, ...]:
    return (
        phase.name,
        ", ".join(str(block) for block in phase.blocks),
        str(phase.steps),
        _shown(phase.kept_step),
        f"{phase.seconds:.1f}",
        f"{phase.compile_seconds:.1f}",
        phase.dtype,
        _range(phase.loss_start, phase.loss_end),
        _range(phase.heldout_loss_start, phase.heldout_loss_end),
        _range(phase.heldout_agreement_start, phase.heldout_agreement_end, percent=True),
    )


_EXPORT_HEADINGS = (
    "file",
    "verified",
    "largest difference",
    "mean difference",
    "allowed",
    "agreement with student %",
    "images",
    "ops",
)


def _exports(verifications: Sequence[Verification]) -> str:
    if not verifications:
        return ""
    rows = [_export_cells(verification) for verification in verifications]
    return _section("Exports", _table(_EXPORT_HEADINGS, rows))


def _export_cells(found: Verification) -> tuple[str, ...]:
    return (
        found.name,
        "yes" if found.ok else f"NO: {found.why}",
        _shown(found.max_abs_difference),
        _shown(found.mean_abs_difference),
        _shown(found.tolerance * found.largest_logit),
        UNKNOWN if found.agreement is None else f"{100 * found.agreement:.2f}",
        str(found.images),
        ", ".join(f"{name} {count}" for name, count in found.ops.items()) or UNKNOWN,
    )


def _left_out(report: RunReport) -> str:
    adapters = [
        f"- adapter `{left.name}` stays in the student: {left.why}" for left in report.adapters_left
    ]
    skipped = [f"- {skip.what}: {skip.why}" for skip in report.skipped]
    lines = [*adapters, *skipped]
    return _section("Left over and left out", "\n".join(lines) if lines else "Nothing.")


def _seconds(report: RunReport) -> str:
    whole = sum(report.seconds.values())
    parts = {**report.seconds, "all": whole}
    rows = [
        (part, f"{taken:.1f}", f"{100 * taken / whole if whole else 0:.1f}")
        for part, taken in parts.items()
    ]
    memory = report.peak_memory_mb
    peak = "" if memory is None else f"Peak memory: {memory:,.0f} MiB."
    return _section("Time and memory", _table(("part", "seconds", "%"), rows), peak)


def _section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *(text for text in paragraphs if text)]) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(_line(cells) for cells in (headings, rule, *rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _facts(facts: Mapping[str, Any]) -> str:
    lines = [f"- {name}: {_escaped(_shown(value))}" for name, value in facts.items()]
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
    shown = (_percent(value) if percent else _shown(value) for value in (start, end))
    return " to ".join(shown)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.2f}"


def _shown(value: Any) -> str:
    value = plain(value)
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or UNKNOWN
    return str(value)
