"""Settings of kgraft-export; no TensorFlow."""

import dataclasses
from typing import Any

from kgraft.checks import check_source
from kgraft.config import ExportConfig
from kgraft.errors import KgraftError


@dataclasses.dataclass(frozen=True)
class ReexportConfig:
    """What is exported again from a finished run.

    Attributes:
        workdir: work folder of the run.
        export: what is written for the device.
        output: the export folder, replaced as a whole; None for the work folder's own.
        dataset, data_dir: where the run's transfer images lie now; None for where they lay.
        eval_dataset, eval_split, eval_data_dir: test set; None for the run's.
    """

    workdir: str
    export: ExportConfig
    output: str | None = None
    dataset: str | None = None
    data_dir: str | None = None
    eval_dataset: str | None = None
    eval_split: str | None = None
    eval_data_dir: str | None = None

    def __post_init__(self) -> None:
        for flag in ("dataset", "eval_dataset"):
            if getattr(self, flag) is not None:
                check_source(flag, getattr(self, flag))
        if not self.export.formats:
            raise KgraftError("--formats is empty: name at least one format to export")

    def moved(self) -> dict[str, Any]:
        """Returns the data settings that take the place of the run's."""
        names = ("dataset", "data_dir", "eval_dataset", "eval_split", "eval_data_dir")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
