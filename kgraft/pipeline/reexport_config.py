"""Settings of kgraft-export; no TensorFlow."""

import dataclasses
from typing import Any

from kgraft.checks import check_source
from kgraft.config import ExportConfig
from kgraft.errors import KgraftError

OFF = "off"


@dataclasses.dataclass(frozen=True)
class ReexportConfig:
    """What is exported again from a finished run.

    Attributes:
        workdir: work folder of the run.
        export: what is written for the device.
        output: the export folder, replaced as a whole; None for the work folder's own.
        dataset, data_dir: where the run's transfer images lie now; None for where they lay.
        eval_dataset, eval_split, eval_data_dir: test set; None for the run's. `off` as the first
            is no test set.
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
            spec = getattr(self, flag)
            if spec is not None and not (flag == "eval_dataset" and spec == OFF):
                check_source(flag, spec)
        if not self.export.formats:
            raise KgraftError("--formats is empty: name at least one format to export")

    def moved(self) -> dict[str, Any]:
        """Returns the data settings that take the place of the run's."""
        names = ("dataset", "data_dir", "eval_dataset", "eval_split", "eval_data_dir")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | ({"eval_dataset": None} if self.eval_dataset == OFF else {})
