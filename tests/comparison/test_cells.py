import json

import pytest

from kgraft.comparison.cells import CellKey, CellRecord, CellStore
from kgraft.errors import KgraftError

SETTINGS = {"data": {"seed": 0, "shape": (1, 2)}, "teacher_sha256": "x"}


@pytest.fixture
def store(tmp_path):
    store = CellStore(tmp_path / "work")
    store.check_settings(SETTINGS)
    assert not (tmp_path / "work").exists()
    store.start(SETTINGS)
    return store


def test_a_record_comes_back_as_it_was(store, tmp_path):
    record = filled("kd", 5, 1, 8, settings={"rate": 0.1}, notes=("a", "b"), **MADE)
    assert not store.done(record.key)
    store.save(record)
    assert store.done(record.key) == record
    assert store.records() == (record,)
    assert (tmp_path / "work" / "cells" / "kd_5shot_draw1.json").exists()
    assert not list((tmp_path / "work" / "cells").glob(".*"))


MADE = {
    "date": "2026-12-01T02:00:00+00:00",
    "versions": {"keras": "3.15.1"},
    "device": "a CPU, 2 cores",
    "computed_in": "float32",
    "revision": 2,
}


def test_records_of_older_versions_do_not_say_what_made_them(store, tmp_path):
    store.save(filled("kd", 5, 1, 8, **MADE))
    path = tmp_path / "work" / "cells" / "kd_5shot_draw1.json"
    content = {k: v for k, v in json.loads(path.read_text()).items() if k not in MADE}
    path.write_text(json.dumps(content))
    assert store.records() == (filled("kd", 5, 1, 8),)


def filled(method, shots, draw, seed, **changes):
    """A record of a cell that did not fail."""
    figures = {"accuracy": 0.5, "agreement": 0.6, "parameters": 9, "macs": 9, "seconds": 1.0}
    return CellRecord(method, shots, draw, seed, **figures | {"updates": 3} | changes)


def test_a_failed_cell_is_not_done_and_is_written_over(store):
    store.save(CellRecord("kd", 5, 1, 8, error="it broke"))
    assert not store.done(CellKey(1, 5, "kd"))
    store.save(filled("kd", 5, 1, 8))
    assert store.done(CellKey(1, 5, "kd"))
    assert len(store.records()) == 1


def test_records_come_by_draw_shots_and_method(store):
    for method, shots, draw in (("kgraft", 1, 0), ("kd", 10, 0), ("kd", 1, 1), ("kd", 1, 0)):
        store.save(filled(method, shots, draw, draw))
    found = [(r.draw, r.shots, r.method) for r in store.records()]
    assert found == [(0, 1, "kd"), (0, 1, "kgraft"), (0, 10, "kd"), (1, 1, "kd")]


def test_other_settings_are_refused_and_named(store):
    store.check_settings(SETTINGS)
    with pytest.raises(KgraftError, match=r"other settings: data.seed was 0, now 1$"):
        store.check_settings({"data": {"seed": 1, "shape": [1, 2]}, "teacher_sha256": "x"})


def test_files_that_are_no_records(store, tmp_path):
    path = tmp_path / "work" / "cells" / "kd_5shot_draw1.json"
    path.write_text("{")
    with pytest.raises(KgraftError, match=r"cannot read .*kd_5shot_draw1\.json"):
        store.records()
    path.write_text("[]")
    with pytest.raises(KgraftError, match="expected a JSON object"):
        store.records()
    path.write_text(json.dumps({"schema": 99, "method": "kd"}))
    with pytest.raises(KgraftError, match="is no record of a cell: expected schema 1"):
        store.done(CellKey(1, 5, "kd"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 99}, "expected schema 1 and a known method; move it away"),
        ({"method": "hinton"}, "expected schema 1 and a known method; move it away"),
        ({"seed": None}, "expected numbers for shots, draw, seed, accuracy, .*; move it away"),
        ({"agreement": None}, "expected numbers for .*agreement, .*; move it away"),
        ({"macs": "many"}, "expected numbers for .*macs, .*; move it away"),
        ({"shots": 7}, "the cell that its name says; it is of kd_7shot_draw1.json; move it away"),
    ],
)
def test_damaged_records_are_told_of(changes, message, store, tmp_path):
    store.save(filled("kd", 5, 1, 8))
    path = tmp_path / "work" / "cells" / "kd_5shot_draw1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(KgraftError, match=message):
        store.check_records()
    with pytest.raises(KgraftError, match=message):
        store.done(CellKey(1, 5, "kd"))


def test_a_cut_off_record_is_told_of(store, tmp_path):
    (tmp_path / "work" / "cells" / "kd_5shot_draw1.json").write_text('{"schema": 1, ')
    with pytest.raises(KgraftError, match=r"cannot read .*kd_5shot_draw1.json.*; move it away$"):
        store.check_records()


def test_records_without_notes_are_read(store, tmp_path):
    store.save(filled("kd", 5, 1, 8))
    path = tmp_path / "work" / "cells" / "kd_5shot_draw1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notes": None}))
    assert store.records()[0].notes == ()


def test_the_teacher_has_a_record(store):
    assert store.teacher() is None
    figures = {"accuracy": 0.9, "parameters": 9, "macs": 9, "test_images": 30}
    store.save_teacher(figures)
    assert store.teacher() == figures
    store.save_teacher({"accuracy": 0.9})
    with pytest.raises(KgraftError, match=r"expected figures of the teacher: .*; move it away"):
        store.check_records()
