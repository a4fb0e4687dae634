from kgraft.comparison.quiet import QuietStopwatch


def test_it_times_and_says_nothing(capsys):
    watch = QuietStopwatch()
    for _ in range(2):
        with watch.part("a", "doing a"):
            pass
    assert list(watch.seconds) == ["a"]
    assert capsys.readouterr().err == ""
