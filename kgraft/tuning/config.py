"""What a search is asked to do. Like `kgraft.config`, this needs no TensorFlow."""

import dataclasses
import functools
from typing import Any

from kgraft.checks import above_zero, at_least, check_source, one_of
from kgraft.compress_config import NOTHING
from kgraft.config import DataConfig, RunConfig
from kgraft.errors import KgraftError
from kgraft.tuning.apart import check_apart
from kgraft.tuning.space import Space, check_space, open_space

TUNERS = ("random", "bayesian", "hyperband")
OBJECTIVES = ("agreement", "loss", "accuracy")
PRUNES = ("score", "front", "off")
COSTS = ("latency", "bytes", "macs")
# Keras Tuner's first bracket of Hyperband: trials of a ninth, a third and all of the phases.
HYPERBAND_ROUNDS = (9, 3, 1)


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """One search over graft schedules.

    Attributes:
        run: the settings of the run that the search starts from; what the space does not name
            stays as it is there.
        space: a Python file that sets `SPACE`, or None.
        vary: further parameters, `name=values` each.
        tuner: which of Keras Tuner's ways to choose the next trial.
        trials: how many.
        objective: what is to be good: `agreement` with the teacher or the distillation `loss`, on
            views that no run trains on and without labels; or `accuracy`, on the labelled images of
            `val_dataset`.
        weigh_latency, weigh_bytes, weigh_macs: how much quality, as a share of 1, the student may
            lose to become smaller by the whole teacher.
        max_latency, max_bytes, max_macs: share of the teacher's that a student may have; None for
            no bound.
        min_accuracy: share of the images of `val_dataset` that a student has to classify rightly;
            None for no bound.
        val_dataset, val_split, val_data_dir: the labelled validation set, apart from the transfer
            images and the test set; None for none, and then no label is read.
        judge_views: views of each transfer image that trials are judged on.
        prune: candidates that are not trained: by `score`, those whose closed-form graft cannot
            become the best by as much as training has ever brought; by `front`, those that cannot
            reach the Pareto front so; `off` trains all.
        block_cache: whether trained blocks are kept for other trials.
        top: how many of the best get a flagfile, and are made again with `retrain`.
        retrain: whether the best are made by kgraft-distill after the search.
    """

    run: RunConfig
    space: str | None = None
    vary: tuple[str, ...] = ()
    tuner: str = "bayesian"
    trials: int = 30
    objective: str = "agreement"
    weigh_latency: float = 0.0
    weigh_bytes: float = 0.0
    weigh_macs: float = 0.0
    max_latency: float | None = None
    max_bytes: float | None = None
    max_macs: float | None = None
    min_accuracy: float | None = None
    val_dataset: str | None = None
    val_split: str = "validation"
    val_data_dir: str | None = None
    judge_views: int = 20
    prune: str = "score"
    block_cache: bool = True
    top: int = 1
    retrain: bool = False

    def __post_init__(self) -> None:
        one_of("tuner", self.tuner, TUNERS)
        one_of("objective", self.objective, OBJECTIVES)
        one_of("prune", self.prune, PRUNES)
        for flag in ("trials", "judge_views", "top"):
            at_least(flag, getattr(self, flag), 1)
        for cost in COSTS:
            at_least(f"weigh_{cost}", getattr(self, f"weigh_{cost}"), 0)
            above_zero(f"max_{cost}", getattr(self, f"max_{cost}"))
        self._check_labels()
        self._check_run()
        check_space(self.opened, self.run)
        self._check_hyperband()

    def _check_hyperband(self) -> None:
        """Refuses so few trials that none would train more than a part of its phases."""
        least = sum(HYPERBAND_ROUNDS)
        few = self.tuner == "hyperband" and self.trials < least
        # The one phase of a single block is all of a ninth.
        if few and self.opened.most_grafted(self.run) > 1:
            ninths, thirds, whole = HYPERBAND_ROUNDS
            raise KgraftError(
                f"--tuner=hyperband needs --trials={least} or more: {ninths} train a ninth of "
                f"their phases, the best {thirds} go on to a third, and only then {whole} to the "
                f"end; got {self.trials}; for fewer trials take --tuner=bayesian or random"
            )

    def _check_labels(self) -> None:
        """Refuses what needs labels where none are named, and labels of a set that is not apart."""
        if self.min_accuracy is not None and not 0 < self.min_accuracy <= 1:
            raise KgraftError(
                "--min_accuracy must be a share of images above 0 and up to 1, such as 0.9; got "
                f"{self.min_accuracy}"
            )
        if self.val_dataset is not None:
            check_source("val_dataset", self.val_dataset)
            check_apart(self.validation_data, self.run.data)
            return
        asked = {
            "--objective=accuracy": self.objective == "accuracy",
            f"--min_accuracy={self.min_accuracy}": self.min_accuracy is not None,
        }
        for flag in (flag for flag, needs in asked.items() if needs):
            raise KgraftError(
                f"{flag} needs labels, and nothing names any: give a labelled validation set apart "
                "from the transfer images and the test set, such as --val_dataset=tfds:cifar10 "
                "--val_split=train[45000:], or seek agreement or loss, which need none"
            )

    @property
    def validation_data(self) -> DataConfig:
        """The data settings with the validation set in the place of the test set."""
        return dataclasses.replace(
            self.run.data,
            eval_dataset=self.val_dataset,
            eval_split=self.val_split,
            eval_data_dir=self.val_data_dir,
        )

    def _check_run(self) -> None:
        """Refuses settings of a run that a search would not follow."""
        if self.run.train.strategy == "multi_worker":
            raise KgraftError(
                "--strategy=multi_worker is not for searches: give another strategy, and share "
                "the trials out by Keras Tuner's chief and workers (docs/tuning.md)"
            )
        if self.run.phases != "all":
            raise KgraftError("--phases is not for searches: each trial trains all phases")
        compress = self.run.compress.compress
        if compress != NOTHING:
            raise KgraftError(
                f"--compress={compress} is not for searches, whose trials are not compressed: "
                "search without it and the formats it makes, then run kgraft-distill "
                f"--flagfile=best.flags --compress={compress} with those formats"
            )

    @functools.cached_property
    def opened(self) -> Space:
        """The search space, read once: who edits its file does not change a search under way."""
        return open_space(self.space, self.vary)

    @property
    def weights(self) -> dict[str, float]:
        """What each cost weighs in the score."""
        return {cost: getattr(self, f"weigh_{cost}") for cost in COSTS}

    @property
    def bounds(self) -> dict[str, float]:
        """Share of the teacher's that each bounded cost may reach."""
        found = {cost: getattr(self, f"max_{cost}") for cost in COSTS}
        return {cost: bound for cost, bound in found.items() if bound is not None}

    @classmethod
    def from_flags(cls, **flags: Any) -> "TuneConfig":
        """Makes the config from settings by the names they have on the command line.

        Args:
            **flags: such as `teacher="model.keras"`, `vary=("block1_ratio=0.3..0.9:0.1",)`.

        Raises:
            KgraftError: a name is unknown, a value is not valid or a needed one is missing.
        """
        names = {field.name for field in dataclasses.fields(cls)} - {"run"}
        own = {name: flags.pop(name) for name in names & set(flags)}
        if "vary" in own:
            vary = own["vary"]
            own["vary"] = tuple(vary.split(",")) if isinstance(vary, str) else tuple(vary)
        return cls(RunConfig.from_flags(**flags), **own)
