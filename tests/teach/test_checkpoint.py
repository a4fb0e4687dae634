import json

import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.teach.checkpoint import DATA, FILE, TrainingState, load_output, load_state, save_state

STATE = TrainingState(
    weights=tuple(np.full(3, n, "float32") for n in range(12)),
    optimizer=(np.int64(7), np.eye(2, dtype="float32")),
    history=({"epoch": 1, "loss": 0.5},),
    seconds=12.5,
)


def test_what_is_saved_is_loaded(tmp_path):
    save_state(STATE, tmp_path, settings={"seed": 1})
    found = load_state(tmp_path, settings={"seed": 1})
    for part in ("weights", "optimizer"):
        for a, b in zip(getattr(STATE, part), getattr(found, part), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    assert (found.history, found.seconds) == (STATE.history, 12.5)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_nothing_saved(tmp_path):
    assert load_state(tmp_path, settings={}) is None


def test_other_settings_are_refused(tmp_path):
    save_state(STATE, tmp_path, settings={"seed": 1, "batch": 2})
    with pytest.raises(KgraftError, match="training with --seed=1, not 2: resume with the same"):
        load_state(tmp_path, settings={"seed": 2, "batch": 2})


def test_a_training_of_before_its_labels_were_kept(tmp_path):
    save_state(STATE, tmp_path, settings={"seed": 1})
    assert load_state(tmp_path, settings={"seed": 1, DATA: "of some labels"}) is not None


def test_the_file_it_ends_with(tmp_path):
    assert load_output(tmp_path) == ""
    save_state(STATE, tmp_path, settings={}, output="teacher.keras")
    assert load_output(tmp_path) == "teacher.keras"
    # A training of before it was kept.
    with open(tmp_path / FILE, "wb") as file:
        np.savez(file, note=np.array(json.dumps({"settings": {}})))
    assert load_output(tmp_path) == ""


def _cut(whole):
    return whole[: len(whole) // 2]


def _flipped(whole):
    return whole[:200] + bytes(255 - byte for byte in whole[200:]) if whole else whole


@pytest.mark.parametrize("spoil", [_cut, _flipped, lambda _: b"", lambda _: b"PK broken"])
def test_broken_file(tmp_path, spoil):
    save_state(STATE, tmp_path, settings={})
    (tmp_path / FILE).write_bytes(spoil((tmp_path / FILE).read_bytes()))
    for load in (load_output, lambda folder: load_state(folder, settings={})):
        with pytest.raises(KgraftError, match=r"cannot read .*: remove it to start anew"):
            load(tmp_path)


@pytest.mark.parametrize("note", [[], {"settings": []}, {"settings": {}, "seconds": 1}])
def test_a_note_of_another_kind(tmp_path, note):
    with open(tmp_path / FILE, "wb") as file:
        np.savez(file, note=np.array(json.dumps(note)))
    with pytest.raises(KgraftError, match=r"cannot read .*: remove it to start anew"):
        load_state(tmp_path, settings={})


def test_a_failed_write_keeps_the_former_state(tmp_path, monkeypatch):
    save_state(STATE, tmp_path, settings={})

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state(TrainingState((), (), (), 99.0), tmp_path, settings={})
    assert load_state(tmp_path, settings={}).seconds == 12.5
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
