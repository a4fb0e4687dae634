"""What a search leaves behind: `search.json`, flagfiles of the best, and the table."""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from kgraft.data.write import write_json, writing_aside
from kgraft.errors import KgraftError
from kgraft.pipeline.given import IN_MEMORY
from kgraft.report import versions
from kgraft.report.layout import aligned
from kgraft.tuning.analysis import beside_start, importance, pareto_front, ranked
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.config import COSTS, TuneConfig
from kgraft.tuning.flagfile import flag_lines
from kgraft.tuning.pictures import draw_search
from kgraft.tuning.records import SCHEMA, START, TrialRecord
from kgraft.tuning.retrain import student_folder

JSON_NAME = "search.json"
BEST_FLAGS = "best.flags"
_TOP = re.compile(r"top(\d+)\.flags")
_HEAD = ("trial", "agreement %", "accuracy %", "latency", "bytes", "MACs", "score", "")


def write_search(
    workdir: pathlib.Path,
    records: Sequence[TrialRecord],
    settings: Mapping[str, Any],
    config: TuneConfig,
) -> None:
    """Writes everything that is made from the records.

    Args:
        workdir: the work folder.
        records: of all trials.
        settings: what all trials have in common.
        config: the settings of the search.

    Raises:
        KgraftError: the folder cannot be written to.
    """
    best, shares = ranked(records, config), importance(records)
    content = {
        "schema": SCHEMA,
        "settings": settings,
        "chosen_by": chosen_by(settings, config),
        "best": best[0].trial if best else None,
        "ranked": [record.trial for record in best],
        "front": {cost: [r.trial for r in pareto_front(records, config, cost)] for cost in COSTS},
        "importance": shares,
        "phases": _counted(records),
        "versions": versions(),
        "trials": [dataclasses.asdict(record) for record in records],
    }
    try:
        write_json(workdir / JSON_NAME, content)
        _write_flagfiles(workdir, best, config)
        draw_search(records, shares, config, workdir)
    except OSError as error:
        raise KgraftError(f"cannot write the search to {workdir}: {error}") from error


def chosen_by(settings: Mapping[str, Any], config: TuneConfig) -> dict[str, Any]:
    """Says what the students of a search are chosen by.

    Args:
        settings: what all trials have in common; `judge` says on which images.
        config: the settings of the search.

    Returns:
        The objective, its images in words, the validation set, and whether labels were read.
    """
    labelled = config.val_dataset is not None
    return {
        "objective": config.objective,
        "min_accuracy": config.min_accuracy,
        "judged_on": settings.get("judge"),
        "val_dataset": config.val_dataset,
        "val_split": config.val_split if labelled else None,
        "labels": labelled,
    }


def _write_flagfiles(
    workdir: pathlib.Path, best: Sequence[TrialRecord], config: TuneConfig
) -> None:
    for rank, record in enumerate(best[: config.top], 1):
        folder = student_folder(workdir, record.trial)
        write_flags(workdir / f"top{rank}.flags", record, config, folder)
    if best:
        write_flags(workdir / BEST_FLAGS, best[0], config, workdir / "best")
    # Of an earlier search of a larger --top here: their ranking is not this one's.
    for path in workdir.glob("top*.flags"):
        match = _TOP.fullmatch(path.name)
        if match and int(match[1]) > config.top:
            path.unlink()


def write_flags(
    path: pathlib.Path, record: TrialRecord, config: TuneConfig, workdir: pathlib.Path
) -> None:
    """Writes the flagfile that kgraft-distill makes a trial's student from.

    What no trial depends on, such as formats and the test set, is as it is now, not as it was when
    the trial was done.

    Args:
        path: the flagfile.
        record: the trial's.
        config: the settings of the search.
        workdir: the work folder that it names.
    """
    head = [
        f"# Trial {record.trial} of a search of kgraft-tune: "
        f"{100 * (record.agreement or 0):.2f} % agreement on the judge's views,",
        *_accuracy_line(record, config),
        f"# {record.shares['latency']:.2f} of the teacher's milliseconds, "
        f"{record.shares['bytes']:.2f} of its bytes, {record.shares['macs']:.2f} of its "
        "multiply-adds.",
        "#",
        *_command_lines(path, config),
    ]
    run = dataclasses.replace(candidate_run(record.values, config.run), workdir=str(workdir))
    with writing_aside(path) as aside:
        aside.write_text("\n".join([*head, *flag_lines(run)]) + "\n", "utf-8")


def _command_lines(path: pathlib.Path, config: TuneConfig) -> list[str]:
    command = f"#   kgraft-distill --flagfile={shlex.quote(str(path))}"
    if config.run.teacher.source != IN_MEMORY:
        return [command]
    return [
        "# The teacher was a model in memory, which no flag names: give kgraft.distill these",
        "# settings and teacher_model=..., or save the model and name its file:",
        "#",
        f"{command} --teacher=PATH.keras",
    ]


def _accuracy_line(record: TrialRecord, config: TuneConfig) -> list[str]:
    if record.accuracy is None:
        return []
    return [
        f"# {100 * record.accuracy:.2f} % accuracy on --val_dataset={config.val_dataset} "
        f"--val_split={config.val_split},"
    ]


def table(records: Sequence[TrialRecord], config: TuneConfig, most: int = 5) -> str:
    """Formats the best trials and the start for a terminal.

    Args:
        records: of all trials.
        config: the settings of the search.
        most: how many trials to show.
    """
    best = ranked(records, config)
    rows = [_row(record, "best" if record is best[0] else "") for record in best[:most]]
    start = next((r for r in records if r.trial == START and r.whole), None)
    if start is not None and start not in best[:most]:
        rows.append(_row(start, "where the search began"))
    rows = _columns([_HEAD, *rows])
    lines = [aligned(rows)] if rows[1:] else []
    if all(record is start for record in best):
        lines.append("no trial was trained whole within the bounds")
    found = beside_start(records, config)
    if found is not None:
        record, start = found
        lines.append(
            f"no slower than where it began: trial {record.trial}, {_gain(record, start, config)} "
            f"at {record.shares['latency']:.2f} of the latency where it was "
            f"{start.shares['latency']:.2f}"
        )
    return "\n".join(lines)


def _gain(record: TrialRecord, start: TrialRecord, config: TuneConfig) -> str:
    """Says what was won, in what the search was for."""
    if config.objective == "loss":
        return f"a loss of {record.loss:.4f} where it was {start.loss:.4f},"
    what = config.objective
    gain = 100 * ((getattr(record, what) or 0) - (getattr(start, what) or 0))
    return f"{gain:+.2f} points of {what}"


def line(record: TrialRecord, done: int, trials: int) -> str:
    """Describes a trial in one line.

    Args:
        record: the trial's.
        done: how many are done.
        trials: how many there are.
    """
    values = ", ".join(f"{k}={v}" for k, v in record.values.items())
    head = f"[{done}/{trials}] {record.trial} ({values or 'the settings given'})"
    if record.error is not None and record.agreement is None:
        return f"{head}: {record.status}: {record.error}"
    shares = ", ".join(f"{name} {share:.2f}" for name, share in record.shares.items())
    agreed = f"{100 * record.agreement:.2f} % agreement, " if record.agreement is not None else ""
    if record.accuracy is not None:
        agreed = f"{agreed}{100 * record.accuracy:.2f} % accuracy, "
    reused = sum(bool(phase["reused"]) for phase in record.phases)
    phases = f", {reused} of {len(record.phases)} phases known" if record.phases else ""
    return (
        f"{head}: {record.status}: {agreed}{shares}, score {record.score:.4f}{phases}, "
        f"{record.seconds:.0f} s"
    )


def _row(record: TrialRecord, note: str) -> tuple[str, ...]:
    shares = [f"{record.shares[cost]:.2f}" for cost in COSTS]
    agreement = f"{100 * (record.agreement or 0):.2f}"
    accuracy = "" if record.accuracy is None else f"{100 * record.accuracy:.2f}"
    return (record.trial, agreement, accuracy, *shares, f"{record.score:.4f}", note)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Leaves out the accuracy where no labelled set was named."""
    place = _HEAD.index("accuracy %")
    if any(row[place] for row in rows[1:]):
        return list(rows)
    return [(*row[:place], *row[place + 1 :]) for row in rows]


def _counted(records: Sequence[TrialRecord]) -> dict[str, int]:
    phases = [phase for record in records for phase in record.phases]
    reused = sum(bool(phase["reused"]) for phase in phases)
    return {"trained": len(phases) - reused, "reused": reused}
