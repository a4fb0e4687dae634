"""`compare`: every cell of the table that has no record yet, then the table."""

import dataclasses
import gc
import itertools
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from kgraft.comparison.bench import Bench
from kgraft.comparison.cells import KIND, CellKey, CellRecord, CellStore
from kgraft.comparison.config import CompareConfig
from kgraft.comparison.machine import made_by
from kgraft.comparison.methods import method
from kgraft.comparison.report import terminal_table, write_comparison
from kgraft.comparison.setting import Setting
from kgraft.comparison.summary import SummaryRow
from kgraft.errors import reason_of
from kgraft.grafting.progress import format_seconds
from kgraft.grafting.release import releasing_graphs
from kgraft.graph import total_macs
from kgraft.interrupts import interrupts_held
from kgraft.pipeline.examiner import Examiner
from kgraft.pipeline.given import given_config
from kgraft.pipeline.keras_settings import usual_keras_settings
from kgraft.pipeline.stopwatch import tell
from kgraft.pipeline.workdir import check_workdir, start_workdir, tell_of_nothing_to_resume


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison gives back.

    Attributes:
        rows: mean and spread of every method and number of shots in the work folder.
        teacher: what was measured of the teacher.
        table: the tables, ready to print.
        failed: records of the cells of this call that failed.
        workdir: the folder with `compare.md`, `compare.json`, the picture and the records.
    """

    rows: tuple[SummaryRow, ...]
    teacher: Mapping[str, Any]
    table: str
    failed: tuple[CellRecord, ...]
    workdir: pathlib.Path


@usual_keras_settings()
def compare(
    config: CompareConfig | None = None,
    *,
    teacher_model: keras.Model | None = None,
    say: Callable[[str], None] = tell,
    **flags: Any,
) -> Comparison:
    """Compares methods of few-shot distillation on the same teacher, images and budget.

    Every method makes a student of the same architecture from the same few images, with every
    number of shots on every draw. A cell has its record as soon as it is done; with `resume` what
    has one is not run again. A cell that fails is recorded, and the others go on.

    Args:
        config: all settings. Without one, the settings are the flags of `kgraft-compare` as
            keywords: `compare(teacher="model.keras", dataset="folder:images",
            eval_dataset="folder:test", shots_list=(1, 10), workdir="comparison")`.
        teacher_model: a loaded functional model that takes the place of the `teacher` setting; it
            is not changed.
        say: told one line at the start, and one before and after each cell.
        **flags: settings by flag name, where there is no `config`.

    Returns:
        The tables, and the cells that failed.

    Raises:
        KgraftError: the input cannot be worked with, or the work folder belongs to a comparison of
            other settings.
    """
    config = given_config(config, flags, CompareConfig.from_flags, teacher_model=teacher_model)
    workdir = pathlib.Path(config.run.workdir)
    check_workdir(workdir, resume=config.run.resume, kind=KIND)
    if config.run.resume:
        tell_of_nothing_to_resume(workdir)
    bench = Bench(config, teacher_model)
    store = CellStore(workdir)
    store.check_settings(bench.settings)
    store.check_records()
    store.check_images(config.shots_list[0], 0, **bench.first_hashes)
    start_workdir(workdir)
    store.start(bench.settings)
    failed = _run_cells(bench, store, say)
    rows = write_comparison(workdir, store, bench.settings)
    teacher = store.teacher() or {}
    return Comparison(rows, teacher, terminal_table(rows, teacher), failed, workdir)


def _run_cells(
    bench: Bench, store: CellStore, say: Callable[[str], None]
) -> tuple[CellRecord, ...]:
    """Runs what has no record yet, group by group, and returns the cells that failed."""
    config = bench.config
    cells = [
        CellKey(draw, shots, name)
        for draw in range(config.draws)
        for shots in config.shots_list
        for name in config.methods
    ]
    done = {cell: record for cell in cells if (record := store.done(cell))}
    earlier = [cell for cell, record in done.items() if not _is_current(record)]
    left = [cell for cell in cells if cell not in done or cell in earlier]
    budget: dict[str, int] = bench.settings["budget"]
    say(
        f"{len(config.methods)} methods, {len(config.shots_list)} numbers of shots, "
        f"{config.draws} draws: {len(cells)} cells, {len(cells) - len(left)} done; "
        f"budget {budget['updates']} updates of {budget['batch']} views"
    )
    if earlier:
        names = ", ".join(dict.fromkeys(cell.method for cell in earlier))
        say(f"made again, because their method has changed since: {len(earlier)} cells of {names}")
    if left and store.teacher() is None:
        store.save_teacher(bench.examiner.teacher())
    clock, failed = _Clock(left), []
    for _, group in itertools.groupby(left, lambda cell: (cell.draw, cell.shots)):
        for record in _group(bench, store, list(group), lambda cell: say(clock.starts(cell))):
            store.save(record)
            failed += [record] if record.error is not None else []
            say(clock.line(record))
        with interrupts_held():
            gc.collect()
    return tuple(failed)


def _is_current(record: CellRecord) -> bool:
    """Whether a cell is of the revision that its method has; older records state none."""
    return record.revision in (None, method(record.method).revision)


def _group(
    bench: Bench, store: CellStore, cells: list[CellKey], starts: Callable[[CellKey], None]
) -> Iterator[CellRecord]:
    """Yields the records of cells on the same images; each is told of before it runs."""
    draw, shots = cells[0].draw, cells[0].shots
    seed = bench.config.run.data.seed + draw
    try:
        setting = bench.setting(shots, draw)
    except Exception as error:
        for cell in cells:
            yield _stamped(
                CellRecord(cell.method, shots, draw, seed, error=reason_of(error)), bench
            )
        return
    for cell in cells:
        starts(cell)
        # What a cell has compiled holds its data, and would for as long as the process lives.
        with releasing_graphs():
            try:
                store.check_images(shots, draw, **setting.hashes)
                record = _cell(setting, cell.method, draw, bench.examiner)
            except Exception as error:
                record = CellRecord(cell.method, shots, draw, seed, error=reason_of(error))
        yield _stamped(record, bench)
    for bank in (setting.bank, setting.heldout):
        bank.close()


def _stamped(record: CellRecord, bench: Bench) -> CellRecord:
    revision = method(record.method).revision
    return dataclasses.replace(record, revision=revision, **made_by(bench.strategy))


def _cell(setting: Setting, name: str, draw: int, examiner: Examiner) -> CellRecord:
    keras.utils.set_random_seed(setting.seed)
    began = time.monotonic()
    made = method(name).run(setting)
    seconds = time.monotonic() - began
    graph = made.student.graph
    marks = examiner.measure(graph)
    left = [f"adapter {a.name} stays: {a.why}" for a in made.student.adapters_left]
    return CellRecord(
        method=name,
        shots=setting.config.data.shots or 0,
        draw=draw,
        seed=setting.seed,
        accuracy=marks.accuracy,
        accuracy_among=marks.accuracy_among,
        agreement=marks.agreement,
        parameters=graph.parameters,
        macs=total_macs(graph),
        seconds=seconds,
        updates=made.updates,
        reads_labels=method(name).reads_labels,
        selection=made.selection,
        sample_sha256=setting.hashes["sample_sha256"],
        pixels_sha256=setting.hashes["pixels_sha256"],
        images=len(setting.job.transfer.images.ids),
        views=len(setting.bank),
        settings=made.settings,
        computed_in=made.computed_in,
        notes=(*made.notes, *left),
    )


class _Clock:
    """Says how far a comparison is and how long the rest will take."""

    def __init__(self, cells: list[CellKey]) -> None:
        self._count = len(cells)
        self._left = [cell.method for cell in cells]
        self._seconds: dict[str, list[float]] = {}
        self._began = time.monotonic()

    def starts(self, cell: CellKey) -> str:
        """Says which cell begins, in one line."""
        number = self._count - len(self._left) + 1
        return f"[{number}/{self._count}] {cell.method}, {cell.shots}-shot, draw {cell.draw} ..."

    def line(self, record: CellRecord) -> str:
        """Takes the time since the last call as the cell's and describes it in one line."""
        now = time.monotonic()
        self._seconds.setdefault(record.method, []).append(now - self._began)
        self._began = now
        self._left.remove(record.method)
        done = self._count - len(self._left)
        head = f"[{done}/{self._count}] {record.method}, {record.shots}-shot, draw {record.draw}"
        if record.error is not None:
            return f"{head}: failed: {record.error}{self._rest()}"
        return (
            f"{head}: {100 * (record.accuracy or 0):.2f} % accuracy, "
            f"{100 * (record.agreement or 0):.2f} % agreement, "
            f"took {format_seconds(record.seconds or 0)}{self._rest()}"
        )

    def _rest(self) -> str:
        if not self._left:
            return ""
        usual = statistics.fmean(s for taken in self._seconds.values() for s in taken)
        means = {name: statistics.fmean(taken) for name, taken in self._seconds.items()}
        return f"; about {format_seconds(sum(means.get(n, usual) for n in self._left))} left"
