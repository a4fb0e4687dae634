"""`tune`: a search over graft schedules, alone or shared out by a chief to workers."""

import dataclasses
import gc
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import keras

from kgraft.errors import reason_of
from kgraft.grafting.locks import file_lock
from kgraft.interrupts import interrupts_held
from kgraft.pipeline.given import given_config
from kgraft.pipeline.keras_settings import usual_keras_settings
from kgraft.pipeline.stopwatch import tell
from kgraft.pipeline.workdir import check_workdir, start_workdir, tell_of_nothing_to_resume
from kgraft.tuning.bench import Bench, opened
from kgraft.tuning.budget import check_budget
from kgraft.tuning.config import TuneConfig
from kgraft.tuning.hparams import log_hparams
from kgraft.tuning.hypermodel import GraftHyperModel
from kgraft.tuning.oracles import living
from kgraft.tuning.outcome import check_found
from kgraft.tuning.records import FAILED, KIND, START, TrialRecord, TrialStore
from kgraft.tuning.report import JSON_NAME, line, table, write_search
from kgraft.tuning.retrain import Retrained, retrain
from kgraft.tuning.roles import (
    WORKERS,
    Role,
    answered,
    await_chief,
    find_role,
    held_alive,
    serving,
)
from kgraft.tuning.trial import Laboratory
from kgraft.tuning.tuner import open_tuner

_WAIT_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search gives back.

    Attributes:
        records: of all trials, the settings it began with first.
        table: the best of them, ready to print; empty in a worker.
        workdir: the folder with `search.json`, `best.flags`, the pictures and the records.
        retrained: the best ones as kgraft-distill made them; one that failed has its error.
    """

    records: tuple[TrialRecord, ...]
    table: str
    workdir: pathlib.Path
    retrained: tuple[Retrained, ...] = ()


@usual_keras_settings()
def tune(
    config: TuneConfig | None = None,
    *,
    teacher_model: keras.Model | None = None,
    say: Callable[[str], None] = tell,
    **flags: Any,
) -> Search:
    """Searches for the graft schedule that makes the best student within bounds on its costs.

    No test image is read, and no label unless `val_dataset` names labelled images to judge by:
    students are judged by their agreement with the teacher, or by the distillation loss, on views
    that no run trains on. A trial has its record as soon as it is done; with `resume` the search
    goes on, within a trial too.

    Args:
        config: all settings. Without one, the settings are the flags of `kgraft-tune` as
            keywords: `tune(teacher="model.keras", dataset="folder:images",
            vary=("block1_ratio=0.3..0.9:0.1",), max_latency=0.4, workdir="search")`.
        teacher_model: a loaded functional model that takes the place of the `teacher` setting; it
            is not changed.
        say: told one line at the start and after each trial.
        **flags: settings by flag name, where there is no `config`.

    Returns:
        The records and what was made again.

    Raises:
        KgraftError: the input cannot be worked with, or the work folder belongs to a search of
            other settings.
        KgraftError: no student that keeps to the bounds was found, or every trial failed; what the
            trials were is written all the same.
    """
    config = given_config(config, flags, TuneConfig.from_flags, teacher_model=teacher_model)
    role = find_role(os.environ)
    workdir = pathlib.Path(config.run.workdir)
    check_workdir(workdir, resume=config.run.resume or role.shared, kind=KIND)
    if config.run.resume:
        tell_of_nothing_to_resume(workdir)
    store = TrialStore(workdir)
    with opened(config, teacher_model) as bench:
        settings = _settings(bench)
        store.check_settings(settings)
        laboratory = Laboratory(bench, store, workdir, worker=role.name)
        check_budget(bench, laboratory.costs, say)
        start_workdir(workdir)
        store.start(settings)
        _search(laboratory, workdir, role, say)
        records = store.records()
    if not role.reports:
        return Search(records, "", workdir)
    write_search(workdir, records, settings, config)
    check_found(records, config, workdir / JSON_NAME)
    made = retrain(records, config, workdir, teacher_model, say) if config.retrain else ()
    return Search(records, table(records, config), workdir, made)


def _search(
    laboratory: Laboratory, workdir: pathlib.Path, role: Role, say: Callable[[str], None]
) -> None:
    bench = laboratory.bench
    config, store = bench.config, laboratory.store
    say(
        f"{config.trials} trials, {config.tuner}, {len(config.opened.parameters)} parameters; "
        f"judged on {len(bench.judge.views)} views: {bench.judge.note}"
    )

    def on_trial(record: TrialRecord) -> None:
        log_hparams(workdir / "logs", record)
        say(line(record, store.found, config.trials))
        if sys.stderr.isatty():
            print(table(store.records(), config), file=sys.stderr)
        # What a trial has compiled holds itself and its data until a collection.
        with interrupts_held():
            gc.collect()

    with held_alive(workdir / WORKERS, role):
        if role.works:
            _try_start(laboratory, workdir, on_trial, again=config.run.resume)
        with answered(role):
            if _has_work(role, store, config.trials, say):
                model = GraftHyperModel(laboratory)
                with serving(role):
                    open_tuner(model, workdir, shared=role.shared, on_trial=on_trial).search()
        if role.works:
            # The worker that was at it may have died.
            _try_start(laboratory, workdir, on_trial)
        else:
            _await_start(store, workdir / WORKERS)
    if role.reports:
        store.end(config.trials)
    if store.found < config.trials:
        say(f"{store.found} of {config.trials} trials: the space has no further points")


def _has_work(role: Role, store: TrialStore, trials: int, say: Callable[[str], None]) -> bool:
    """Whether there is a search to take part in, which a worker waits for."""
    if not role.shared:
        return True
    if role.chief:
        # Nobody may be left who would ask, and end the waiting for it.
        return not store.ended(trials)
    return await_chief(role, ended=lambda: store.ended(trials), say=say)


def _await_start(store: TrialStore, workers: pathlib.Path) -> None:
    """Waits for the run that the search starts from while anyone lives who may yet do it."""
    while store.find(START) is None and living(workers):
        time.sleep(_WAIT_SECONDS)


def _try_start(
    laboratory: Laboratory,
    workdir: pathlib.Path,
    on_trial: Callable[[TrialRecord], None],
    *,
    again: bool = False,
) -> None:
    """Does the run that the search starts from, for what is found to be held against it.

    One that has failed is done again only where the search is gone on with.
    """
    with file_lock(workdir / "start.lock", wait=None) as mine:
        done = laboratory.store.find(START)
        if not mine or (done is not None and not (again and done.status == FAILED)):
            return
        run = laboratory.bench.config.run
        try:
            model = laboratory.bench.untrained(run)
            record, _ = laboratory.attempt(START, {}, run, model=model)
        except Exception as error:
            record = TrialRecord(START, FAILED, {}, error=reason_of(error))
        laboratory.store.save(record)
        on_trial(record)


# Settings of a search that no trial depends on.
_FREE = ("run", "trials", "top", "retrain", "vary", "space", "val_data_dir")
_FREE_DATA = ("data_dir", "manual_dir", "download", "eval_dataset", "eval_split", "eval_data_dir")
_FREE_TRAIN = ("cache_mb", "spill_mb", "strategy")


def _settings(bench: Bench) -> dict[str, Any]:
    """What all trials of a work folder must have in common."""
    config = bench.config
    run = config.run.to_dict()
    own = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    if config.val_dataset is None:
        del own["val_split"]
    return {
        "search": {name: value for name, value in own.items() if name not in _FREE},
        "space": {n: dataclasses.asdict(d) for n, d in config.opened.parameters.items()},
        "teacher": run["teacher"],
        "student": run["student"],
        "data": {k: v for k, v in run["data"].items() if k not in _FREE_DATA},
        "train": {k: v for k, v in run["train"].items() if k not in _FREE_TRAIN},
        **bench.hashes,
        "judge": bench.judge.note,
    }
