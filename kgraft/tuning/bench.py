"""What all trials share: the teacher, opened once, the views, and what the teacher says of them."""

import collections
import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from kgraft.config import RunConfig
from kgraft.data.hashes import labelled_sha256, names_sha256
from kgraft.errors import KgraftError
from kgraft.grafting import graft_schedule, make_strategy
from kgraft.graph import graph_sha256, split_chain
from kgraft.pipeline.job import Banks, Job, fill_banks, open_job, own_sha256
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.targets import untrained_student
from kgraft.pipeline.teacher import OpenedTeacher, resolve_cuts
from kgraft.pipeline.transfer import Transfer, open_transfer, transfer_sha256, without_pixels
from kgraft.students import assign_recipes
from kgraft.tuning.config import TuneConfig
from kgraft.tuning.judge import Judge
from kgraft.tuning.validation import Validation, open_validation

# A bank holds activations at every cut; another set of cuts or views is another bank.
_BANKS_KEPT = 2
_DATA = ("augment", "views", "mixed_views")


class Filled(NamedTuple):
    """View banks, and what they are of.

    Attributes:
        banks: training and held-out views, and the copies of the teacher to train with.
        sha256: hash of the views of both.
    """

    banks: Banks
    sha256: str


class Bench:
    """The input of a search, opened and checked once.

    Attributes:
        config: the settings of the search.
        strategy: what students are made under.
        start: the job of the settings that the search starts from.
        judge: measures students.
        hashes: what no setting tells of the networks and the images that trials depend on.
        passes: how often the teacher has run over a set of views.
    """

    def __init__(self, config: TuneConfig, model: keras.Model | None = None) -> None:
        """Opens everything and writes nothing.

        Args:
            config: the settings.
            model: a loaded teacher that takes the place of the configured one.

        Raises:
            KgraftError: anything that cannot be worked with.
            KgraftError: a set of cuts in the space is not valid for the teacher.
        """
        self.config = config
        self.strategy = make_strategy(config.run.train.strategy)
        with self.strategy.scope():
            job = open_job(config.run, Stopwatch(say=None), model)
            most = config.opened.most_views(config.run)
            validation = open_validation(config, job)
            self.judge = Judge(
                job, config.run, config.judge_views, most_views=most, validation=validation
            )
        self.hashes = _hashes(job, validation)
        self.start = dataclasses.replace(job, transfer=without_pixels(job.transfer))
        self.passes = 0
        self._teachers: dict[tuple[str, ...], OpenedTeacher] = {job.chain.cuts: job.teacher}
        self._transfers: collections.OrderedDict[Any, Transfer] = collections.OrderedDict()
        self._banks: collections.OrderedDict[Any, Filled] = collections.OrderedDict()
        for cuts in config.opened.cut_options(config.run):
            self._teacher(cuts)

    def job(self, run: RunConfig) -> Job:
        """Returns the job of a candidate.

        Args:
            run: its settings.

        Raises:
            KgraftError: a setting does not fit the teacher.
        """
        teacher = self._teacher(run.teacher.cuts)
        student = run.student
        recipes = assign_recipes(student.graft, student.source, len(teacher.chain.blocks))
        grafted = [index for index, recipe in enumerate(recipes) if recipe.kind != "keep"]
        return dataclasses.replace(
            self.start,
            teacher=teacher,
            recipes=recipes,
            phases=graft_schedule(grafted, run.train),
            transfer=self._transfer(run),
        )

    def untrained(self, run: RunConfig) -> keras.Model:
        """Makes the fused student of a candidate with random weights.

        Args:
            run: its settings.

        Raises:
            KgraftError: a recipe cannot be applied to its block.
        """
        with self.strategy.scope():
            return untrained_student(self.job(run), run.data.seed)

    def banks(self, job: Job, run: RunConfig) -> Filled:
        """Returns both view banks of a candidate; the teacher runs where they are not there yet.

        Args:
            job: the candidate's job.
            run: its settings.
        """
        key = (job.chain.cuts, self._data_key(run), run.train.precision)
        if key in self._banks:
            self._banks.move_to_end(key)
            return self._banks[key]
        while len(self._banks) >= _BANKS_KEPT:
            _close(self._banks.popitem(last=False)[1].banks)
        # Every cut is wanted, as other candidates start from other ones.
        every = graft_schedule(range(len(job.chain.blocks)), self._plain_train(run))
        settings = dataclasses.replace(run, workdir=self.config.run.workdir)
        with self.strategy.scope():
            watch = Stopwatch(say=None)
            filled = fill_banks(dataclasses.replace(job, phases=every), settings, watch)
        self.passes += 1
        self._banks[key] = Filled(filled, _views_sha256(filled))
        return self._banks[key]

    def close(self) -> None:
        """Lets the memory of the banks go."""
        for filled in self._banks.values():
            _close(filled.banks)
        self._banks.clear()

    def _teacher(self, cuts: tuple[str, ...] | int) -> OpenedTeacher:
        graph = self.start.chain.graph
        names = resolve_cuts(graph, cuts)
        # A space has parameters of each block.
        if isinstance(cuts, int) and len(names) + 1 < cuts:
            raise KgraftError(
                f"--teacher_cuts={cuts}: only {len(names) + 1} blocks of the teacher would have "
                f"multiply-adds: a search takes --teacher_cuts={len(names) + 1} or names of cuts"
            )
        if names not in self._teachers:
            chain = split_chain(graph, names)
            self._teachers[names] = dataclasses.replace(self.start.teacher, chain=chain)
        return self._teachers[names]

    def _transfer(self, run: RunConfig) -> Transfer:
        key = self._data_key(run)
        if key == self._data_key(self.config.run):
            return self.start.transfer
        if key not in self._transfers:
            while len(self._transfers) >= _BANKS_KEPT:
                self._transfers.popitem(last=False)
            made = open_transfer(run.data, self.start.chain.graph)
            self._transfers[key] = without_pixels(made)
        return self._transfers[key]

    def _data_key(self, run: RunConfig) -> tuple[Any, ...]:
        return tuple(getattr(run.data, name) for name in _DATA)

    def _plain_train(self, run: RunConfig) -> Any:
        return dataclasses.replace(run.train, steps=(1, 1), block_rate=1e-3)


@contextlib.contextmanager
def opened(config: TuneConfig, model: keras.Model | None) -> Iterator[Bench]:
    """Opens a bench and lets its memory go afterwards.

    Args:
        config: the settings.
        model: a loaded teacher, or None.

    Yields:
        The bench.

    Raises:
        KgraftError: anything that cannot be worked with.
    """
    bench = Bench(config, model)
    try:
        yield bench
    finally:
        bench.close()


def _hashes(job: Job, validation: Validation | None) -> dict[str, str]:
    """Of what trials depend on and no setting tells: networks, images and, if read, labels."""
    found = {
        "teacher_sha256": graph_sha256(job.chain.graph),
        "transfer_sha256": transfer_sha256(job.transfer),
        **own_sha256(job),
    }
    if validation is not None:
        found["validation_sha256"] = labelled_sha256(validation.examiner.source)
        found["names_sha256"] = names_sha256(job.names)
    return found


def _views_sha256(banks: Banks) -> str:
    digest = hashlib.sha256()
    for bank in (banks.train, banks.heldout):
        digest.update(np.ascontiguousarray(bank.views).data)
    return digest.hexdigest()


def _close(banks: Banks) -> None:
    for bank in (banks.train, banks.heldout):
        bank.close()
