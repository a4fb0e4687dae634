"""Blocks that were solved or trained before, by the hash of all that they depend on."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kgraft.data.write import write_json
from kgraft.grafting import Phase, PhaseResult
from kgraft.grafting.checkpoints import load_block_weights, save_block_weights, settings_key
from kgraft.grafting.locks import file_lock
from kgraft.grafting.span import (
    Student,
    adapter_variables,
    block_variables,
    state_variables,
)
from kgraft.graph import Block, Chain
from kgraft.students import Recipe, Start, StudentBlock, make_from_teacher
from kgraft.students.thin_block import Thinned

# Enough for a solved block of the right form, whose weights are then put back.
_FEW_VIEWS = 16


class PhaseCache:
    """The checkpoints of one trial, each under the hash of what its phase starts from.

    It stands in for `grafting.Checkpoints`: a phase that any trial has trained, from the same
    weights by the same settings, is finished for all. A trial that was killed so finds its own.

    Attributes:
        reused: names of the phases that were taken from the cache.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        phases: Sequence[Phase],
        student: Student,
        *,
        recipes: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        """Opens the cache and changes nothing.

        Args:
            folder: where all trials keep their blocks.
            phases: the graft schedule.
            student: its student blocks.
            recipes: of each block; a phase depends on those of its span alone, and of these on what
                they made: two ratios that leave as many channels make the same block.
            settings: what training depends on beside phase and blocks: teacher, cuts, views, loss,
                seed; plain values.
        """
        self._folder = folder
        self._phases = {phase.name: phase for phase in phases}
        self._student = student
        self._recipes = recipes
        self._settings = settings
        self._keys: dict[str, str] = {}
        self._trained: set[str] = set()
        self.reused: set[str] = set()

    def finished(self, phase: str) -> PhaseResult | None:
        """Returns the result of a phase that starts from the student's present weights.

        Args:
            phase: name of the phase.
        """
        path = self._path(phase)
        if not path.exists():
            return None
        record = json.loads(path.read_text("utf-8"))
        return PhaseResult(**{**record, "blocks": tuple(record["blocks"])})

    def restore(self, phase: str, student: Student) -> None:
        """Puts back the weights of a finished phase.

        Args:
            phase: name of the phase, which `finished` has found.
            student: the whole student, changed in place.

        Raises:
            KgraftError: its file does not fit the student.
        """
        path = self._folder / f"{self._keys[phase]}.npz"
        load_block_weights(path, student, self._phases[phase].blocks)
        if phase not in self._trained:
            self.reused.add(phase)

    def save(self, student: Student, result: PhaseResult) -> None:
        """Writes the weights and the result of a phase, under what it started from.

        Args:
            student: the whole student; only the span's blocks are written.
            result: the phase's result.
        """
        path = self._folder / f"{self._keys[result.name]}.json"
        save_block_weights(path.with_suffix(".npz"), student, result.blocks)
        self._trained.add(result.name)
        # The result comes last: a trial killed before it does the phase again.
        write_json(path, dataclasses.asdict(result))

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: Callable[[], None] | None = None) -> Iterator[bool]:
        """Keeps other workers from training the same blocks at the same time.

        Args:
            name: name of the phase.
            wait: called before this process waits; None for not to wait.

        Yields:
            Whether this process may train it.
        """
        with file_lock(self._path(name).with_suffix(".lock"), wait=wait) as held:
            yield held

    def _path(self, name: str) -> pathlib.Path:
        phase = self._phases[name]
        span = [self._student[i] for i in phase.blocks]
        depends = {
            "phase": _phase_settings(phase, span),
            "blocks": {
                str(block.index): (_kind(self._recipes[block.index]), _block_key(block))
                for block in span
            },
            "settings": self._settings,
        }
        self._keys[name] = settings_key(depends)
        return self._folder / f"{self._keys[name]}.json"


class StartCache:
    """Solved blocks by teacher, views, recipe and the channels they get; a `Maker`."""

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
        """Opens the cache and changes nothing.

        Args:
            folder: where all trials keep their blocks.
            settings: teacher, cuts and views, plain values.
        """
        self._folder = folder
        self._settings = settings

    def __call__(
        self,
        chain: Chain,
        block: Block,
        recipe: Recipe,
        start: Start,
        entry_kept: np.ndarray | None,
    ) -> Thinned:
        """Makes a block, or puts back the weights of one that was made before.

        Args:
            chain: the teacher.
            block: the teacher's block.
            recipe: of the block.
            start: where starting weights come from; random ones are not kept.
            entry_kept: channels of the entry cut that the block before makes; None for all.
        """
        if start.weights != "teacher":
            return make_from_teacher(chain, block, recipe, start, entry_kept)
        kept = None if entry_kept is None else entry_kept.tolist()
        depends = {
            "start": self._settings,
            "seed": start.seed,
            "block": block.index,
            "recipe": dataclasses.asdict(recipe),
            "entry_kept": kept,
        }
        path = self._folder / f"start_{settings_key(depends)}.npz"
        if path.with_suffix(".json").exists():
            return self._restored(path, (chain, block, recipe), start, entry_kept)
        made = make_from_teacher(chain, block, recipe, start, entry_kept)
        save_block_weights(path, {block.index: made.block}, [block.index])  # type: ignore[arg-type]
        exit_kept = None if made.kept is None else made.kept.tolist()
        write_json(path.with_suffix(".json"), {"kept": exit_kept})
        return made

    def _restored(
        self,
        path: pathlib.Path,
        what: tuple[Chain, Block, Recipe],
        start: Start,
        entry_kept: np.ndarray | None,
    ) -> Thinned:
        few = dataclasses.replace(
            start, activations=lambda position, n: start.activations(position, min(n, _FEW_VIEWS))
        )
        made = make_from_teacher(*what, few, entry_kept)
        index = made.block.index
        load_block_weights(path, {index: made.block}, [index])  # type: ignore[arg-type]
        kept = json.loads(path.with_suffix(".json").read_text("utf-8"))["kept"]
        return Thinned(made.block, None if kept is None else np.array(kept, int))


def _phase_settings(phase: Phase, span: Sequence[StudentBlock]) -> dict[str, Any]:
    """What a phase is told and something in its span reads."""
    settings = dataclasses.asdict(phase)
    reads = {
        "adapter_rate": bool(adapter_variables(span)),
        "block_rate": bool(block_variables(span)),
        "optimizer": True,
        "decay": True,
    }
    for name, read in reads.items():
        if not (read and phase.steps):
            del settings[name]
    return settings


def _kind(recipe: str) -> str:
    return recipe.partition(":")[0]


def _wiring(block: StudentBlock) -> list[Any]:
    """The kinds of operations of a replaced block, and the shapes that they make."""
    return [
        (type(call.op).__name__, graph.shapes[call.output])
        for graph in (() if block.kept else block.pieces)
        for call in graph.calls
    ]


def _block_key(block: StudentBlock) -> str:
    """Hashes how a block is wired and what it holds.

    A kept block is the teacher's, which the settings name.
    """
    digest = hashlib.sha256(json.dumps(_wiring(block)).encode())
    for part, variables in state_variables(block).items():
        digest.update(part.encode())
        for variable in variables:
            value = np.ascontiguousarray(variable.numpy())
            digest.update(str(value.shape).encode())
            digest.update(value.tobytes())
    return digest.hexdigest()
