"""The teacher of a comparison, opened once, and what the methods of some cells share."""

import dataclasses
import os
from typing import Any

import keras

from kgraft.comparison.config import CompareConfig
from kgraft.comparison.methods import check_methods
from kgraft.comparison.setting import Setting
from kgraft.comparison.sources import check_shots, source_hashes, transfer_source
from kgraft.config import RunConfig
from kgraft.data.hashes import labelled_sha256, names_sha256
from kgraft.errors import KgraftError
from kgraft.grafting import make_strategy
from kgraft.graph import graph_sha256
from kgraft.pipeline.examiner import Examiner
from kgraft.pipeline.job import Job, fill_banks, open_job, own_sha256
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.pipeline.teacher import load_told
from kgraft.pipeline.transfer import transfer_sha256, without_pixels
from kgraft.students import check_recipes


class Bench:
    """The teacher, opened once, and the settings made from it.

    Attributes:
        config: the settings of the comparison.
        strategy: what the teacher and our own students are made under.
        settings: what all cells have in common.
    """

    def __init__(self, config: CompareConfig, model: keras.Model | None) -> None:
        """Opens the input of the first cells, and checks what all cells need.

        Args:
            config: the settings of the comparison.
            model: a loaded teacher that takes the place of the configured one, or None.

        Raises:
            KgraftError: anything that cannot be worked with.
        """
        _check_one_process(config)
        self.config = config
        self.strategy = make_strategy(config.run.train.strategy)
        self._teacher = config.run.teacher
        self._model = model
        self._pixels: dict[tuple[int, int], str] = {}
        if model is None:
            with self.strategy.scope():
                loaded = load_told(self._teacher)
            self._model = loaded.model
            self._teacher = dataclasses.replace(self._teacher, preprocess=loaded.preprocess)
        source = transfer_source(config.run.data)
        check_shots(source, config.shots_list)
        self.first = self.open(config.shots_list[0], 0)
        self._updates = sum(phase.steps for phase in self.first.phases)
        check_recipes(self.first.chain, self.first.recipes)
        check_methods(config.methods, self.first.chain, self.first.recipes, updates=self._updates)
        self.examiner = Examiner(self.first)
        self.settings: dict[str, Any] = {
            **config.shared_settings(),
            "teacher_sha256": graph_sha256(self.first.chain.graph),
            "test_sha256": labelled_sha256(self.examiner.source),
            "budget": {"updates": self._updates, "batch": config.run.train.batch},
            **source_hashes(config.run.data, source),
            **own_sha256(self.first),
        }
        if config.run.data.labels:
            self.settings["labels_sha256"] = names_sha256(self.first.names)

    def open(self, shots: int, draw: int) -> Job:
        """Opens the input of some cells."""
        with self.strategy.scope():
            job = open_job(self._run(shots, draw), Stopwatch(say=None), self._model)
        self._pixels[shots, draw] = transfer_sha256(job.transfer)
        return dataclasses.replace(job, transfer=without_pixels(job.transfer))

    def setting(self, shots: int, draw: int) -> Setting:
        """Makes what the methods of some cells share; the teacher runs over the views here."""
        run = self._run(shots, draw)
        first = (shots, draw) == (self.config.shots_list[0], 0)
        with self.strategy.scope():
            job = self.first if first else self.open(shots, draw)
            # Rivals read what the teacher itself says, whatever our own steps compute in.
            exact = dataclasses.replace(run.train, precision="float32")
            banks = fill_banks(job, dataclasses.replace(run, train=exact), Stopwatch(say=None))
        pixels = self._pixels[shots, draw]
        return Setting(run, job, banks.train, banks.heldout, self.strategy, self._updates, pixels)

    @property
    def first_hashes(self) -> dict[str, str]:
        """What `Setting.hashes` says of the first cells, before the teacher has run."""
        pixels = self._pixels[self.config.shots_list[0], 0]
        return {"sample_sha256": self.first.transfer.images.sha256, "pixels_sha256": pixels}

    def _run(self, shots: int, draw: int) -> RunConfig:
        return dataclasses.replace(self.config.cell_run(shots, draw), teacher=self._teacher)


def _check_one_process(config: CompareConfig) -> None:
    """Refuses a cluster before any worker of it waits for the others."""
    if config.run.train.strategy == "auto" and os.environ.get("TF_CONFIG"):
        raise KgraftError(
            "TF_CONFIG is set, and with it --strategy=auto is multi_worker, which is not for "
            "comparisons: unset it, or give another strategy; to share the work give each machine "
            "its own --methods"
        )
