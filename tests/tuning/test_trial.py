import gc
import json
import weakref

import numpy as np
import pytest
import tensorflow as tf
from small_models import small_model
from tuning_cases import record

from kgraft.grafting import run as run_module
from kgraft.grafting import step as step_module
from kgraft.graph import as_model
from kgraft.tuning.bench import Bench
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.records import TrialStore
from kgraft.tuning.trial import Laboratory

pytestmark = pytest.mark.usefixtures("quick_costs")
VALUES = {"block1_ratio": 0.75}
TWO = {"graft": "1-2", "student": "width:0.5"}


def attempt(laboratory, name, values=VALUES, **options):
    run = candidate_run(values, laboratory.bench.config.run)
    model = laboratory.bench.untrained(run)
    found, graph = laboratory.attempt(name, dict(values), run, model=model, **options)
    laboratory.store.save(found)
    return found, graph


def weights(graph):
    return as_model(graph, name="student").get_weights()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.fixture(scope="module")
def done(world, tmp_path_factory, quick_costs):
    """Two trials of the same values, then one that shares a block with them."""
    laboratory = world.laboratory(tmp_path_factory.mktemp("trial"), **TWO)
    first = attempt(laboratory, "0")
    again = attempt(laboratory, "1")
    other = attempt(laboratory, "2", {"block2_ratio": 0.25, **VALUES})
    return laboratory, first, again, other


def test_a_record_says_what_was_found(done):
    _, (found, _), _, _ = done
    assert (found.status, found.part, found.error) == ("trained", 1.0, None)
    assert found.score == pytest.approx(np.exp(-found.loss))
    assert [phase["name"] for phase in found.phases] == [
        "one/block1",
        "one/block2",
        "two/blocks1-2",
    ]
    assert [block["recipe"] for block in found.blocks] == ["width:0.75", "width:0.5"]
    assert "--graft=1=width:0.75,2=width:0.5" in found.flags


def test_a_block_is_never_trained_twice(done):
    _, (_, first), (again, graph), (other, _) = done
    assert [phase["reused"] for phase in again.phases] == [True, True, True]
    assert same(first, graph)
    # The same block 1; block 2 is another, and so is what stage two makes of both.
    assert [phase["reused"] for phase in other.phases] == [True, False, False]


def test_the_cache_changes_no_result(done, world, tmp_path):
    _, _, _, (other, graph) = done
    laboratory = world.laboratory(tmp_path, block_cache=False, **TWO)
    again, alone = attempt(laboratory, "2", {"block2_ratio": 0.25, **VALUES})
    assert not any(phase["reused"] for phase in again.phases)
    assert (again.loss, again.closed_loss) == (other.loss, other.closed_loss)
    assert same(graph, alone)


def test_in_part_then_killed_then_on_from_the_weights_so_far(world, tmp_path, done, monkeypatch):
    _, (_, graph), _, _ = done
    laboratory = world.laboratory(tmp_path, **TWO)
    early, _ = attempt(laboratory, "0", part=1 / 9)
    assert [phase["name"] for phase in early.phases] == ["one/block1"]
    assert (early.part, early.whole) == (1 / 3, False)
    train = run_module.train_phase

    def killed(phase, **training):
        if phase.name == "two/blocks1-2":
            raise KeyboardInterrupt
        return train(phase, **training)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_module, "train_phase", killed)
        attempt(laboratory, "1")
    whole, made = attempt(laboratory, "1")
    assert [phase["reused"] for phase in whole.phases] == [True, True, False]
    assert same(made, graph)


def test_a_ninth_of_one_phase_is_all_of_it(world, tmp_path):
    laboratory = world.laboratory(tmp_path)
    found, graph = attempt(laboratory, "0", part=1 / 9)
    assert ([phase["name"] for phase in found.phases], found.part) == (["one/block1"], 1.0)
    assert found.whole
    again, other = attempt(laboratory, "1")
    assert again.phases[0]["reused"] and same(graph, other)


def test_over_budget_means_not_even_solved(world, tmp_path):
    laboratory = world.laboratory(tmp_path, max_macs=0.5, weigh_macs=0.5)
    found, graph = attempt(laboratory, "0")
    assert (found.status, graph, found.agreement) == ("over budget", None, None)
    assert found.score == pytest.approx(-1.0 - 0.1 * (found.shares["macs"] / 0.5 - 1))
    assert not (tmp_path / "blocks").exists()


def test_hopeless_in_closed_form_means_not_trained(world, tmp_path):
    laboratory = world.laboratory(tmp_path, objective="agreement")
    shares = {"shares": {"latency": 1.0, "bytes": 1.0, "macs": 1.0}}
    for name in ("a", "b", "c"):
        # Training has brought nothing, and no agreement is as good as this.
        laboratory.store.save(record(name, 1.5, 1.0, closed_agreement=1.5, **shares))
    found, graph = attempt(laboratory, "d", {"block1_ratio": 0.1})
    assert (found.status, graph, found.phases) == ("pruned", None, ())
    assert found.error.endswith("; the best score so far is 1.5000")
    assert (found.loss, found.agreement) == (found.closed_loss, found.closed_agreement)
    stored = json.loads((tmp_path / "trials" / "d.json").read_text())
    assert stored["status"] == "pruned"


def test_nothing_of_a_trial_is_kept_when_it_is_over(world, tmp_path, monkeypatch):
    graphs, variables = [], []
    train_step = step_module._train_step

    def watched(objective, groups, **options):
        step = train_step(objective, groups, **options)
        variables.extend(weakref.ref(v) for group in groups for v in group.variables)

        def traced(*arguments):
            graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
            return step(*arguments)

        return traced

    monkeypatch.setattr(step_module, "_train_step", watched)
    laboratory = world.laboratory(tmp_path, **TWO)
    record, graph = attempt(laboratory, "0")
    assert record.status == "trained"
    assert len(graphs) >= len(record.phases) and variables
    del graph
    gc.collect()
    assert not [ref for ref in (*graphs, *variables) if ref() is not None]


@pytest.mark.slow
def test_what_the_bench_has_compiled_outlives_the_trials(world, tmp_path):
    # SiLU brings a gradient of its own, which TensorFlow registers wherever it is compiled.
    config = world.config(
        teacher_cuts=("conv1_relu", "gate0_swish"), block_cache=False, workdir=str(tmp_path)
    )
    store = TrialStore(tmp_path)
    store.start({})
    laboratory = Laboratory(Bench(config, small_model("squeeze_excite")), store, tmp_path)
    (first, _), (again, _) = (attempt(laboratory, name) for name in ("0", "1"))
    assert first.status == again.status == "trained"
    assert first.loss == again.loss
