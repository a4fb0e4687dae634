"""What a comparison is asked to do. Like `kgraft.config`, this needs no TensorFlow."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from kgraft.checks import LARGEST_SEED, at_least, whole
from kgraft.config import RunConfig
from kgraft.errors import KgraftError

# In the order of the table. What each is and where it comes from: `methods.py`, docs/compare.md.
METHODS = (
    "finetune",
    "kd",
    "kd_pruned",
    "distiller",
    "fitnet",
    "fskd",
    "mir",
    "paper",
    "closed",
    "kgraft",
)
# Settings of a run that no cell depends on: how fast, where from, and what the cells vary.
_FREE: dict[str, tuple[str, ...]] = {
    "data": ("shots", "images", "data_dir", "manual_dir", "download", "eval_data_dir"),
    "train": ("cache_mb", "spill_mb", "strategy", "xla"),
}
_PARTS = ("teacher", "student", "data", "train")


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """One comparison: every method with every number of shots on every draw.

    Attributes:
        run: the settings of one distillation, which all methods share as far as they concern
            them; `shots_list` takes the place of its shots, and nothing is exported.
        methods: names of the methods.
        shots_list: images per class.
        draws: how many few-shot draws; draw number i has the seed of `run` plus i.
    """

    run: RunConfig
    methods: tuple[str, ...] = METHODS
    shots_list: tuple[int, ...] = (1, 5, 10, 50)
    draws: int = 5

    def __post_init__(self) -> None:
        _check_methods(self.methods)
        for flag, numbers in (("shots_list", self.shots_list), ("draws", (self.draws,))):
            for number in numbers:
                if number is None:
                    raise KgraftError(f"--{flag} must be a whole number; got None")
                whole(flag, number)
        if not self.shots_list or min(self.shots_list) < 1:
            raise KgraftError(
                "--shots_list must be images per class, numbers from 1 such as 1,5,10; got "
                f"{','.join(map(str, self.shots_list)) or 'none'}"
            )
        if len(set(self.shots_list)) < len(self.shots_list):
            raise KgraftError(
                "--shots_list must name each number once; got "
                f"{','.join(map(str, self.shots_list))}"
            )
        at_least("draws", self.draws, 1)
        last_seed = self.run.data.seed + self.draws - 1
        if last_seed > LARGEST_SEED:
            raise KgraftError(
                f"--seed={self.run.data.seed} leaves no seed for the last of --draws={self.draws}, "
                f"which would be {last_seed}: give a seed of at most "
                f"{LARGEST_SEED - self.draws + 1}"
            )
        if not self.run.data.eval_dataset:
            raise KgraftError(
                "--eval_dataset is missing: a comparison needs a labelled test set, such as "
                f"--eval_dataset={self.run.data.dataset}"
            )
        if self.run.data.images is not None:
            raise KgraftError(
                f"--images={self.run.data.images} draws without looking at classes; a comparison "
                "draws images per class: give --shots_list"
            )
        if self.run.train.strategy == "multi_worker":
            raise KgraftError(
                "--strategy=multi_worker is not for comparisons: give another strategy, and to "
                "share the work give each machine its own --methods"
            )
        if self.run.compress.techniques:
            raise KgraftError(
                f"--compress={self.run.compress.compress} is not for comparisons, which compress "
                "no student: leave it out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain nested dicts."""
        return dataclasses.asdict(self)

    def shared_settings(self) -> dict[str, dict[str, Any]]:
        """Returns the settings that all cells of one folder must have in common."""
        settings = self.run.to_dict()
        return {
            part: {k: v for k, v in settings[part].items() if k not in _FREE.get(part, ())}
            for part in _PARTS
        }

    def cell_run(self, shots: int, draw: int) -> RunConfig:
        """Returns the settings of our own distillation in a cell.

        Args:
            shots: images per class.
            draw: number of the draw, from 0.
        """
        data = dataclasses.replace(self.run.data, shots=shots, seed=self.run.data.seed + draw)
        return dataclasses.replace(self.run, data=data)

    @classmethod
    def from_flags(cls, **flags: Any) -> "CompareConfig":
        """Makes the config from settings by the names they have on the command line.

        Args:
            **flags: such as `teacher="model.keras"`, `shots_list=(1, 10)`, `methods="kd,kgraft"`.

        Raises:
            KgraftError: a name is unknown, a value is not valid or a needed one is missing.
        """
        names = ("methods", "shots_list", "draws")
        own = {name: flags.pop(name) for name in names if name in flags}
        for name in ("methods", "shots_list"):
            if name in own:
                own[name] = _as_tuple(own[name])
        if "shots_list" in own:
            own["shots_list"] = tuple(map(_as_number, own["shots_list"]))
        return cls(RunConfig.from_flags(**flags), **own)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """Takes `"a,b"`, several values or one."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _as_number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _check_methods(methods: tuple[str, ...]) -> None:
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise KgraftError(
            f"--methods must be some of {', '.join(METHODS)}; got "
            f"{unknown[0] if unknown else 'none'}"
        )
    if len(set(methods)) < len(methods):
        raise KgraftError(f"--methods must name each method once; got {','.join(methods)}")
