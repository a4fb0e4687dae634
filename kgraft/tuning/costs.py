"""Multiply-adds, bytes and milliseconds of candidates, measured before they are trained."""

import dataclasses
import hashlib
import json
import pathlib

import keras

from kgraft.data.write import write_json
from kgraft.export import float32_bytes, measure_latencies
from kgraft.graph import Graph, as_model, total_macs, trace_model
from kgraft.pipeline.job import Job
from kgraft.tuning.objective import Costs

_SECONDS = 1.5
_RUNS = 60


class CostBook:
    """The costs of every architecture seen, each measured once and kept in a file.

    Attributes:
        teacher: bytes and multiply-adds of the teacher.
    """

    def __init__(self, folder: pathlib.Path, teacher: Graph) -> None:
        """Converts the teacher; writes nothing.

        Args:
            folder: where the files are.
            teacher: the whole teacher.

        Raises:
            KgraftError: LiteRT's built-in ops do not cover it.
        """
        self._folder = folder
        self._file = float32_bytes(as_model(teacher, name="teacher"))
        self.teacher = {"bytes": len(self._file), "macs": total_macs(teacher)}

    def of(self, job: Job, model: keras.Model) -> Costs:
        """Returns the costs of a candidate's architecture.

        Args:
            job: names the architecture, by cuts and recipes.
            model: a student of it, with any weights.

        Raises:
            KgraftError: LiteRT's built-in ops do not cover it.
        """
        path = self._folder / f"{architecture_key(job)}.json"
        if path.exists():
            return Costs(**json.loads(path.read_text("utf-8")))
        costs = self.measure(model)
        # Another process may have been faster: all must go by the same figures.
        if path.exists():
            return Costs(**json.loads(path.read_text("utf-8")))
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(path, dataclasses.asdict(costs))
        return costs

    def measure(self, model: keras.Model) -> Costs:
        """Measures a student in turns with the teacher, so that a busy moment meets both.

        Args:
            model: the student.

        Raises:
            KgraftError: LiteRT's built-in ops do not cover it.
        """
        file = float32_bytes(model)
        times = measure_latencies(
            {"teacher": self._file, "student": file}, runs=_RUNS, seconds=_SECONDS
        )
        macs = total_macs(trace_model(model))
        shares = {
            "latency": times["student"] / times["teacher"],
            "bytes": len(file) / self.teacher["bytes"],
            "macs": macs / self.teacher["macs"],
        }
        return Costs(times["student"], len(file), macs, shares)


def architecture_key(job: Job) -> str:
    """Names an architecture: the cuts, and the recipe of each block."""
    content = json.dumps([job.chain.cuts, [dataclasses.asdict(r) for r in job.recipes]])
    return hashlib.sha256(content.encode()).hexdigest()[:24]
