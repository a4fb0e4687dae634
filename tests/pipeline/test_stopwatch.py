import time

import pytest

from kgraft.pipeline.stopwatch import Stopwatch


def test_parts_add_up_and_are_told(capsys):
    watch = Stopwatch()
    for _ in range(2):
        with watch.part("bank", "running the teacher"):
            seconds = dict(watch.seconds)
    assert seconds.keys() == {"bank"} and watch.seconds["bank"] >= seconds["bank"] >= 0
    told = capsys.readouterr()
    assert told.err == "kgraft: running the teacher\n" * 2 and told.out == ""


def test_a_part_that_fails_is_timed_too():
    watch = Stopwatch()
    with pytest.raises(ValueError), watch.part("data", "drawing"):
        raise ValueError
    assert "data" in watch.seconds


def test_the_parts_add_up_to_the_whole():
    began = time.monotonic() - 5
    watch = Stopwatch(began)
    with watch.part("data", "drawing"):
        time.sleep(0.02)
    time.sleep(0.02)
    whole = watch.whole()
    assert list(whole) == ["start-up", "data", "rest"]
    assert whole["start-up"] >= 5 and whole["data"] >= 0.02 and whole["rest"] >= 0.02
    assert sum(whole.values()) == pytest.approx(time.monotonic() - began, abs=1)
    assert list(Stopwatch().whole()) == ["rest"]


def test_a_part_is_split_off_another():
    watch = Stopwatch()
    with watch.part("training", "training"):
        time.sleep(0.02)
        watch.split_off("compiling", 0.015, of="training")
    assert watch.seconds["compiling"] == 0.015
    assert sum(watch.seconds.values()) >= 0.02


def test_it_need_not_say_anything(capsys):
    watch = Stopwatch(say=None)
    with watch.part("a", "doing a"):
        pass
    assert list(watch.seconds) == ["a"]
    assert capsys.readouterr().err == ""
