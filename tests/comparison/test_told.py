from kgraft.comparison.told import Told


def test_a_line_when_it_is_time_and_none_of_what_is_done():
    now, lines = [100.0], []
    told = Told("kd", 400, every=60, say=lines.append, clock=lambda: now[0])
    for seconds, done in ((159, 99), (160, 100), (219, 150), (260, 200), (400, 400)):
        now[0] = seconds
        told(done, 0.25)
    assert lines == [
        "kd  update 100/400  loss 0.25  3:00 left",
        "kd  update 200/400  loss 0.25  2:40 left",
    ]
