import pytest

from kgraft.export import float32_bytes
from kgraft.graph import total_macs, trace_model
from kgraft.tuning.candidate import candidate_run


@pytest.fixture(scope="module")
def laboratory(world, tmp_path_factory):
    return world.laboratory(tmp_path_factory.mktemp("costs"))


def test_an_untrained_student_is_weighed_and_each_architecture_once(laboratory, monkeypatch):
    bench, book = laboratory.bench, laboratory.costs
    run = bench.config.run
    model = bench.untrained(run)
    costs = book.of(bench.job(run), model)
    assert costs.macs == total_macs(trace_model(model))
    assert costs.bytes == len(float32_bytes(model))
    assert costs.shares["macs"] == costs.macs / total_macs(bench.start.chain.graph)
    assert costs.shares["bytes"] == costs.bytes / book.teacher["bytes"]
    assert costs.latency_ms > 0 and costs.shares["latency"] > 0

    def measured(model):
        raise AssertionError("it was measured before")

    monkeypatch.setattr(book, "measure", measured)
    assert book.of(bench.job(candidate_run({"batch": 4}, run)), model) == costs
    with pytest.raises(AssertionError, match="it was measured before"):
        book.of(bench.job(candidate_run({"block1_ratio": 0.75}, run)), model)
