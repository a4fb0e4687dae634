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
