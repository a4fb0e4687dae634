import types

import pytest
from tuning_cases import record, settings

from kgraft.errors import KgraftError
from kgraft.tuning import retrain as module
from kgraft.tuning.retrain import retrain


@pytest.fixture(params=[KgraftError("it broke"), MemoryError("it broke")])
def failure(request):
    return request.param


@pytest.fixture
def runs(monkeypatch, failure):
    """The settings that kgraft-distill would be run with; of batch 16 it fails."""
    found = []

    def run(config, watch, model):
        found.append(config)
        assert config.side_by_side == "off"
        if config.train.batch == 16:
            raise failure
        return types.SimpleNamespace(table=f"batch {config.train.batch}")

    monkeypatch.setattr(module.api, "run", run)
    monkeypatch.setattr(module.api, "Result", types.SimpleNamespace)
    return found


def test_a_folder_belongs_to_a_trial_whatever_its_rank(runs, tmp_path):
    config = settings("batch=8|16|32", top=2)
    first = record("1", 0.8, 0.5, values={"batch": 8})
    retrain([first], config, tmp_path, None, lambda _: None)
    (tmp_path / "student_1").mkdir()
    better = record("2", 0.9, 0.5, values={"batch": 32})
    made = retrain([first, better], config, tmp_path, None, lambda _: None)
    assert [(m.trial, m.table) for m in made] == [("2", "batch 32"), ("1", "batch 8")]
    found = [(run.workdir, run.resume, run.train.batch) for run in runs]
    one, two = str(tmp_path / "student_1"), str(tmp_path / "student_2")
    assert found == [(one, False, 8), (two, False, 32), (one, True, 8)]


@pytest.mark.usefixtures("runs")
def test_one_that_fails_keeps_none_from_being_made(failure, tmp_path):
    why = "it broke" if isinstance(failure, KgraftError) else "MemoryError: it broke"
    records = [
        record(str(batch), 1 - batch / 100, 0.5, values={"batch": batch}) for batch in (8, 16, 32)
    ]
    lines = []
    config = settings("batch=8|16|32", top=3)
    made = retrain(records, config, tmp_path, None, lines.append)
    assert [(m.trial, m.error) for m in made] == [("8", None), ("16", why), ("32", None)]
    assert f"trial 16 could not be made once more: {why}" in lines
