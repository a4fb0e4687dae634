import json

import pytest
from tuning_cases import record, settings

from kgraft.tuning import report
from kgraft.tuning.analysis import ranked
from kgraft.tuning.records import START
from kgraft.tuning.report import write_search


def test_flagfiles_follow_the_settings_of_now_and_the_ranking(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_search", lambda *_: None)
    old = record("1", 0.9, 0.5, values={"batch": 8}, flags=("--formats=int8", "--batch=8"))
    other = record("2", 0.8, 0.5, values={"batch": 16})
    (tmp_path / "top_secret.flags").touch()
    write_search(tmp_path, [old, other], {}, settings("batch=8|16", top=2))
    assert (tmp_path / "top2.flags").exists()
    config = settings("batch=8|16", formats=("float32",), eval_dataset="npz:test.npz")
    write_search(tmp_path, [old, other], {}, config)
    names = sorted(path.name for path in tmp_path.glob("*.flags"))
    assert names == ["best.flags", "top1.flags", "top_secret.flags"]
    lines = (tmp_path / "best.flags").read_text().splitlines()
    assert {"--formats=float32", "--eval_dataset=npz:test.npz", "--batch=8"} <= set(lines)
    assert f"--workdir={tmp_path / 'best'}" in lines
    lines = (tmp_path / "top1.flags").read_text().splitlines()
    assert f"--workdir={tmp_path / 'student_1'}" in lines


def test_a_teacher_in_memory_is_to_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_search", lambda *_: None)
    for teacher, told in (("a.keras", False), ("in memory", True)):
        config = settings("batch=8|16", teacher=teacher)
        write_search(tmp_path, [record("1", 0.9, 0.5, values={"batch": 8})], {}, config)
        text = (tmp_path / "best.flags").read_text()
        assert ("# settings and teacher_model=..., or save the model" in text) == told
        command = f"#   kgraft-distill --flagfile={tmp_path / 'best.flags'}"
        assert command + (" --teacher=PATH.keras" if told else "") in text.splitlines()


def test_it_says_which_set_chose(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_search", lambda *_: None)
    judged = {"judge": "3 views; accuracy on 5 labelled images of npz:held.npz, split test"}
    config = settings(
        "batch=8|16", objective="accuracy", val_dataset="npz:held.npz", val_split="test"
    )
    found = record("1", 0.9, 0.5, values={"batch": 8}, accuracy=0.8125, closed_accuracy=0.75)
    write_search(tmp_path, [found], judged, config)
    chosen = json.loads((tmp_path / "search.json").read_text())["chosen_by"]
    assert (chosen["objective"], chosen["labels"]) == ("accuracy", True)
    assert (chosen["val_dataset"], chosen["val_split"]) == ("npz:held.npz", "test")
    assert chosen["judged_on"] == judged["judge"]
    head = (tmp_path / "best.flags").read_text()
    assert "# 81.25 % accuracy on --val_dataset=npz:held.npz --val_split=test,\n" in head
    table = report.table([found], config)
    assert "accuracy %" in table and "81.25" in table
    assert "81.25 % accuracy" in report.line(found, 1, 2)


def test_without_labels_it_says_so_and_shows_no_accuracy(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_search", lambda *_: None)
    config, found = settings("batch=8|16"), record("1", 0.9, 0.5, values={"batch": 8})
    write_search(tmp_path, [found], {"judge": "3 views"}, config)
    chosen = json.loads((tmp_path / "search.json").read_text())["chosen_by"]
    assert (chosen["labels"], chosen["val_dataset"], chosen["val_split"]) == (False, None, None)
    assert "accuracy" not in (tmp_path / "best.flags").read_text()
    assert "accuracy" not in report.table([found], config)


@pytest.mark.parametrize(
    ("objective", "gain"),
    [
        ("agreement", "+5.00 points of agreement at"),
        ("loss", "a loss of 0.1000 where it was 0.1500, at"),
    ],
)
def test_it_says_what_was_won_at_no_more_latency(objective, gain):
    found = [record(START, 0.85, 0.5), record("1", 0.9, 0.5), record("2", 0.95, 0.6)]
    told = report.table(found, settings("batch=8|16", objective=objective)).splitlines()[-1]
    assert told == (
        f"no slower than where it began: trial 1, {gain} 0.50 of the latency where it was 0.50"
    )


def test_it_says_where_only_the_start_was_trained():
    start, beyond = record(START, 0.85, 0.5), record("1", 0.9, 0.6)
    told = "no trial was trained whole within the bounds"
    bounded = settings(max_macs=0.5)
    assert report.table([start, beyond], bounded).splitlines()[-1] == told
    assert report.table([beyond], bounded) == told
    assert told not in report.table([start, record("1", 0.8, 0.4)], bounded)


def test_who_is_short_of_the_accuracy_asked_for_is_not_ranked():
    config = settings("batch=8|16", min_accuracy=0.8, val_dataset="npz:held.npz")
    good = record("1", 0.9, 0.5, accuracy=0.8)
    short = record("2", 0.99, 0.5, accuracy=0.79)
    assert ranked([short, good], config) == (good,)
