import pytest
from tuning_cases import record

from kgraft.errors import KgraftError
from kgraft.tuning.records import TrialStore


@pytest.fixture
def store(tmp_path):
    made = TrialStore(tmp_path)
    made.start({"tuner": "random", "cuts": ("a",)})
    return made


def test_records_come_back_with_the_start_first(store):
    written = [record("0", 0.5, 0.5, flags=("--batch=1",)), record("start", 0.9, 1.0)]
    for one in written:
        store.save(one)
    assert store.records() == (written[1], written[0])
    assert store.find("0") == written[0]
    assert store.find("1") is None


def test_records_are_in_the_order_of_their_numbers(store):
    # From --trials=10 on names have two digits; a resumed search may have both kinds.
    for name in ("2", "09", "10", "start", "1"):
        store.save(record(name, 0.5, 0.5))
    assert [r.trial for r in store.records()] == ["start", "1", "2", "09", "10"]


def test_a_folder_belongs_to_one_search(store):
    store.check_settings({"tuner": "random", "cuts": ("a",)})
    with pytest.raises(KgraftError, match="search of other settings: tuner was 'random', now 'b'"):
        store.check_settings({"tuner": "b", "cuts": ("a",)})


def test_files_that_are_no_records(store, tmp_path):
    (tmp_path / "trials" / "0.json").write_text('{"schema": 99}')
    with pytest.raises(KgraftError, match="is no record of a trial: expected schema 1"):
        store.records()
    (tmp_path / "trials" / "0.json").write_text("[]")
    with pytest.raises(KgraftError, match="expected a JSON object"):
        store.records()
