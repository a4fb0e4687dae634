"""Weights of finished phases: what is written, read back and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from grafting_cases import GraftFactory, read_weights

from kgraft.errors import KgraftError
from kgraft.grafting import Checkpoints, PhaseResult
from kgraft.grafting.checkpoints import (
    START,
    differences,
    load_block_weights,
    save_block_weights,
    settings_key,
)
from kgraft.grafting.span import Student

_SETTINGS = {"train": {"steps": (1, 2), "batch": 64}, "seed": 0}
_RESULT = PhaseResult("one/block1", (1,), 9, 1.5, 0.5, 0.25, 0.5, 0.25, 0.75, 1.0, 9)


@pytest.fixture
def student(graft: GraftFactory) -> Student:
    return graft(batchnorm=True)["student"]


def _spoil(student: Student) -> None:
    for block in student:
        for part in (block.entry, block.body, block.exit):
            for variable in part.variables if part else []:
                variable.assign(variable + 1)


def _equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_weights_and_statistics_come_back(tmp_path: Path, student: Student) -> None:
    before = read_weights(student)
    save_block_weights(tmp_path / "w.npz", student, (0, 1, 2))
    _spoil(student)
    load_block_weights(tmp_path / "w.npz", student, (0, 1, 2))
    assert _equal(before, read_weights(student))
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_only_the_blocks_asked_for(tmp_path: Path, student: Student) -> None:
    before = [read_weights((block,)) for block in student]
    save_block_weights(tmp_path / "w.npz", student, (1,))
    _spoil(student)
    load_block_weights(tmp_path / "w.npz", student, (1,))
    after = [read_weights((block,)) for block in student]
    assert [_equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, False]


def test_weights_of_another_student_change_nothing(tmp_path: Path, student: Student) -> None:
    save_block_weights(tmp_path / "w.npz", student, (0,))
    with np.load(tmp_path / "w.npz") as file:
        weights = dict(file)
    np.savez(tmp_path / "shape.npz", **{**weights, "block0.body.1": np.zeros(99)})
    weights.pop("block0.exit.0")
    np.savez(tmp_path / "fewer.npz", **weights)
    before = read_weights(student)
    with pytest.raises(KgraftError, match=r"block0\.body\.1 should be \(3,\) .* got \(99,\)"):
        load_block_weights(tmp_path / "shape.npz", student, (0,))
    with pytest.raises(KgraftError, match=r"block0\.exit\.0 should be .* got None"):
        load_block_weights(tmp_path / "fewer.npz", student, (0,))
    assert _equal(before, read_weights(student))


@pytest.mark.parametrize("content", [None, b"", b"PK broken", b"\x93NUMPY\x01\x00"])
def test_unreadable_weights(tmp_path: Path, student: Student, content: bytes | None) -> None:
    path = tmp_path / "w.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KgraftError, match=r"cannot read the checkpoint .*w\.npz"):
        load_block_weights(path, student, (0,))


def test_a_finished_phase_is_known_to_the_next_run(tmp_path: Path, student: Student) -> None:
    first = Checkpoints(tmp_path / "new", _SETTINGS)
    assert not first.has_start()
    first.save_start(student)
    first.save(student, _RESULT)
    second = Checkpoints(tmp_path / "new", _SETTINGS)
    assert second.has_start()
    assert second.finished("one/block1") == _RESULT
    assert second.finished("one/block2") is None
    before = read_weights(student)
    _spoil(student)
    second.restore(START, student)
    assert _equal(before, read_weights(student))


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "new", _SETTINGS)
    assert not (tmp_path / "new").exists()


def test_workers_that_are_not_the_chief_write_nothing(tmp_path: Path, student: Student) -> None:
    Checkpoints(tmp_path, _SETTINGS, writes=False).save(student, _RESULT)
    assert list(tmp_path.iterdir()) == []


def test_other_settings_are_named(tmp_path: Path, student: Student) -> None:
    Checkpoints(tmp_path, _SETTINGS).save_start(student)
    other = {"train": {"steps": (1, 3), "batch": 64}, "seed": 0}
    with pytest.raises(KgraftError, match=r"train\.steps was \[1, 2\], now \[1, 3\]$"):
        Checkpoints(tmp_path, other)


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({"key": "x"})])
def test_broken_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "one_block1.json").write_text(text)
    with pytest.raises(KgraftError, match=r"cannot read the checkpoint .*one_block1\.json"):
        Checkpoints(tmp_path, _SETTINGS).finished("one/block1")
    with pytest.raises(KgraftError, match=r"cannot read the checkpoint .*one_block1\.json"):
        Checkpoints(tmp_path, _SETTINGS, cluster=True)
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(KgraftError, match=r"cannot read the checkpoint .*settings\.json"):
        Checkpoints(tmp_path, _SETTINGS)


@pytest.mark.parametrize("changes", [{"result": None}, {"result": {"colour": 1}}, {"blocks": 5}])
def test_a_record_of_another_kind(tmp_path: Path, student: Student, changes: dict) -> None:
    checkpoints = Checkpoints(tmp_path, _SETTINGS)
    checkpoints.save(student, _RESULT)
    path = next(p for p in tmp_path.glob("*.json") if p.name != "settings.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    message = rf"checkpoint .*{path.name}: TypeError.*; remove {path.name} and {path.stem}\.npz to"
    with pytest.raises(KgraftError, match=message):
        Checkpoints(tmp_path, _SETTINGS).finished(_RESULT.name)


def test_what_another_process_finishes_is_seen(tmp_path: Path, student: Student) -> None:
    ours, theirs = (Checkpoints(tmp_path, _SETTINGS) for _ in range(2))
    ours.claim()
    assert ours.finished("one/block1") is None and not ours.has_start()
    theirs.save_start(student)
    theirs.save(student, _RESULT)
    assert ours.finished("one/block1") == _RESULT and ours.has_start()
    names = {path.name for path in tmp_path.iterdir()}
    one = {f"one_block1.{kind}" for kind in ("json", "npz")}
    assert names == {"settings.json", "start.json", "start.npz", *one}


def test_the_workers_of_a_cluster_see_what_there_was(tmp_path: Path, student: Student) -> None:
    alone = Checkpoints(tmp_path, _SETTINGS)
    alone.save_start(student)
    cluster = Checkpoints(tmp_path, _SETTINGS, cluster=True)
    alone.save(student, _RESULT)
    assert cluster.has_start() and cluster.finished("one/block1") is None
    # They never wait for each other.
    with cluster.lock("one/block1") as held, cluster.lock("one/block1") as also:
        assert held and also
    assert not list(tmp_path.glob("*.lock"))


def test_weights_without_a_result_are_not_a_finished_phase(
    tmp_path: Path, student: Student
) -> None:
    checkpoints = Checkpoints(tmp_path, _SETTINGS)
    checkpoints.save(student, _RESULT)
    (tmp_path / "one_block1.json").unlink()
    assert checkpoints.finished("one/block1") is None


def test_a_run_of_other_settings_that_was_faster(tmp_path: Path, student: Student) -> None:
    slow = Checkpoints(tmp_path, _SETTINGS)
    Checkpoints(tmp_path, {**_SETTINGS, "seed": 1}).claim()
    before = sorted(tmp_path.iterdir())
    for write in (slow.claim, lambda: slow.save_start(student)):
        with pytest.raises(KgraftError, match=r"other settings: seed was 1, now 0$"):
            write()
    assert sorted(tmp_path.iterdir()) == before


def test_a_lock_is_one_process_s(tmp_path: Path) -> None:
    ours, theirs = (Checkpoints(tmp_path, _SETTINGS) for _ in range(2))
    with ours.lock("one/block1") as held, theirs.lock("one/block1") as also:
        assert held and not also
        with theirs.lock("one/block0") as other:
            assert other
    with theirs.lock("one/block1") as held:
        assert held


def test_restoring_what_is_not_there(tmp_path: Path, student: Student) -> None:
    with pytest.raises(KgraftError, match="no checkpoint of one/block1"):
        Checkpoints(tmp_path, _SETTINGS).restore("one/block1", student)


def test_settings_key_does_not_depend_on_order() -> None:
    assert settings_key({"a": 1, "b": 2}) == settings_key({"b": 2, "a": 1})
    assert settings_key({"a": 1}) != settings_key({"a": 2})


def test_differences_name_what_is_missing():
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []
    assert differences({"a": {"b": 1}}, {"c": 2}) == [
        "a was {'b': 1}, now None",
        "c was None, now 2",
    ]
