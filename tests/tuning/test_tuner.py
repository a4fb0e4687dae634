"""What ends a search and what only its trial, with trials that train nothing."""

import errno
import json
import os
import pathlib

import pytest
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.tuning.hypermodel import GraftHyperModel
from kgraft.tuning.records import TRAINED, TrialRecord
from kgraft.tuning.tuner import open_tuner

TRIALS = 3


@pytest.fixture
def search(world, tmp_path):
    """Searches in one folder; a trial by its name raises what is given for it."""

    def run(**errors):
        laboratory = world.laboratory(
            tmp_path, vary=("batch=2|4|8|16",), trials=TRIALS, tuner="random"
        )
        done = []

        def attempt(trial, values, *_, **__):
            done.append(trial)
            if trial in errors:
                raise errors[trial]
            return TrialRecord(trial, TRAINED, values, score=0.5), None

        laboratory.attempt = attempt
        tuner = open_tuner(
            GraftHyperModel(laboratory), tmp_path, shared=False, on_trial=lambda _: None
        )
        try:
            tuner.search()
        finally:
            run.done, run.tuner = done, tuner
        return {record.trial: record.status for record in laboratory.store.records()}

    return run


def out_of_memory():
    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.npy"), "No space left .*'a.npy'"),
        (tf.errors.ResourceExhaustedError(None, None, "a; No space left on device"), "No space"),
    ],
)
def test_what_the_machine_lacks_ends_the_search_and_its_trial_is_done_again(search, error, message):
    with pytest.raises(type(error), match=message):
        search(**{"1": error})
    assert search.done == ["0", "1"]
    assert search() == dict.fromkeys("012", "trained")
    assert search.done == ["1", "2"]


def test_a_full_disk_never_fails_a_trial(search):
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            search(**{"0": OSError(errno.ENOSPC, "No space left on device")})
    assert search() == dict.fromkeys("012", "trained")


def test_one_candidate_may_be_too_large_for_the_memory(search):
    found = search(**{"0": MemoryError("150 GiB"), "2": out_of_memory()})
    assert found == {"0": "failed", "1": "trained", "2": "failed"}


def test_where_the_next_one_is_too_large_as_well_memory_is_short(search):
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM when allocating"):
        search(**{"0": MemoryError("150 GiB"), "1": out_of_memory()})
    assert search.done == ["0", "1"]
    assert search() == {"0": "failed", "1": "trained", "2": "trained"}
    assert search.done == ["1", "2"]


def test_a_trial_that_was_never_given_out_stays_where_others_came_behind_it(search, tmp_path):
    """Names of trials are made by counting them: one less, and the last would be made again."""
    search()
    path = tmp_path / "tuner" / "oracle.json"
    state = json.loads(path.read_text("utf-8"))
    state["start_order"].remove("1")
    path.write_text(json.dumps(state), "utf-8")
    assert search() == dict.fromkeys("012", "trained")
    assert search.done == []


def test_what_the_candidate_lacks_fails_its_trial(search):
    found = search(**{"0": KgraftError("it broke"), "2": RuntimeError("it broke")})
    assert found == {"0": "failed", "1": "trained", "2": "failed"}
    assert search.done == ["0", "1", "2"]


@pytest.mark.parametrize("number", [1, 4, 6])
def test_a_search_that_ends_while_it_writes_goes_on(search, tmp_path, monkeypatch, number):
    """The search and its tuner are written, then a trial as it begins, and as it ends."""
    write, written = pathlib.Path.write_text, []

    def full(path, text, *args, **kwargs):
        if tmp_path / "tuner" not in path.parents:
            return write(path, text, *args, **kwargs)
        written.append(path)
        if len(written) < number:
            return write(path, text, *args, **kwargs)
        write(path, text[: len(text) // 2], *args, **kwargs)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            search()
    assert search() == dict.fromkeys("012", "trained")
    # What was written of a trial that nobody was given is drawn anew.
    assert set(search.done) | {"0"} == set("012")


def test_what_keras_tuner_writes_takes_the_place_of_the_file_before(search, tmp_path):
    search()
    states = tmp_path / "tuner"
    written = [states / "oracle.json", states / "tuner0.json", states / "trial_0" / "trial.json"]
    before = [path.read_text("utf-8") for path in written]
    for path in written:
        os.link(path, path.with_suffix(".before"))
    search.tuner.oracle.update_trial("0", {"score": 0.75})
    search.tuner.save()
    for path, text in zip(written, before, strict=True):
        assert path.with_suffix(".before").read_text("utf-8") == text
        assert not path.samefile(path.with_suffix(".before"))
