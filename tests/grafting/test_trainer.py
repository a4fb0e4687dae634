"""The phase trainer: what changes, what must not, and what it reports."""

import dataclasses
import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from grafting_cases import GraftFactory, make_student, read_weights

from kgraft.data.aligned import aligned_empty
from kgraft.errors import KgraftError
from kgraft.grafting import Phase, Progress, ViewBank, train_phase
from kgraft.grafting.loop import Measured
from kgraft.grafting.step import rate_at
from kgraft.grafting.trainer import keep

_PHASE = Phase("one/block1", 1, 2, 24, 1e-2, 1e-2, batch=8)
_ALL = dataclasses.replace(_PHASE, name="two/blocks0-2", start=0, stop=3, stage=2)
# Rates at which a trained block falls apart.
_WILD = dataclasses.replace(_PHASE, block_rate=30.0, adapter_rate=30.0, decay="constant")


def _equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("optimizer", "decay"), [("adam", "constant"), ("muon", "cosine"), ("sgd", "cosine")]
)
def test_the_losses_fall(graft: GraftFactory, optimizer: str, decay: str) -> None:
    result = train_phase(dataclasses.replace(_PHASE, optimizer=optimizer, decay=decay), **graft())
    assert result.loss_end < 0.7 * result.loss_start
    assert result.heldout_loss_end < 0.7 * result.heldout_loss_start
    assert (result.name, result.blocks, result.steps) == ("one/block1", (1,), 24)
    assert result.seconds > 0


@pytest.mark.parametrize("phase", [_PHASE, _ALL], ids=lambda p: p.name)
def test_the_teacher_stays_bit_equal(graft: GraftFactory, batchnorm: bool, phase: Phase) -> None:
    made = graft(batchnorm=batchnorm)
    variables = made["chain"].graph.variables
    before = [v.numpy() for v in variables]
    train_phase(phase, **made)
    assert _equal(before, [v.numpy() for v in variables])


def test_only_the_span_changes(graft: GraftFactory, batchnorm: bool) -> None:
    made = graft(batchnorm=batchnorm)
    before = [read_weights((block,)) for block in made["student"]]
    train_phase(_PHASE, **made)
    after = [read_weights((block,)) for block in made["student"]]
    assert [_equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_a_kept_block_inside_the_span_is_frozen(graft: GraftFactory) -> None:
    made = graft(kept=(1,), batchnorm=True)
    before = [v.numpy() for v in made["chain"].blocks[1].graph.variables]
    result = train_phase(_ALL, **made)
    assert result.heldout_loss_end < result.heldout_loss_start
    assert _equal(before, [v.numpy() for v in made["chain"].blocks[1].graph.variables])


def test_same_seed_same_weights_bit_for_bit(graft: GraftFactory) -> None:
    runs = []
    for seed in (0, 0, 1):
        made = {**graft(batchnorm=True), "seed": seed, "select": "last"}
        train_phase(dataclasses.replace(_ALL, steps=12), **made)
        runs.append(read_weights(made["student"]))
    assert _equal(runs[0], runs[1])
    assert not _equal(runs[0], runs[2])


def test_cached_and_recomputed_activations_train_alike(graft: GraftFactory) -> None:
    runs = []
    for cache_mb in (0, 1):
        made = graft(cache_mb=cache_mb)
        train_phase(_PHASE, **made, select="last")
        runs.append(read_weights(made["student"]))
    for cached, recomputed in zip(*runs, strict=True):
        np.testing.assert_allclose(cached, recomputed, atol=1e-4)


def test_a_step_is_one_update_of_the_batch_mean(graft: GraftFactory) -> None:
    made = graft()
    phase = dataclasses.replace(
        _PHASE, steps=1, batch=20, optimizer="sgd", decay="constant", block_rate=0.1
    )
    block = made["student"][1]
    kernel = block.body.trainable_variables[0]
    before = kernel.numpy()
    with tf.GradientTape() as tape:
        y = block.exit(block.body(block.entry(made["bank"].activation(1))))
        error = tf.reduce_mean(tf.square(y - made["bank"].activation(2)), [1, 2, 3])
        feature = error / tf.reduce_mean(tf.square(made["bank"].activation(2)), [1, 2, 3])
        logits = made["chain"].blocks[2].graph(y)
        loss = tf.reduce_mean(made["loss"](logits, made["bank"].logits) + 0.5 * feature)
    gradient = tape.gradient(loss, kernel.value)
    result = train_phase(phase, **made, select="last")
    # Nesterov momentum 0.9: the first update is 1.9 times the gradient.
    expected = before - 0.1 * 1.9 * gradient
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(result.loss_start, loss, rtol=1e-5)


def test_blocks_and_adapters_have_rates_of_their_own(graft: GraftFactory) -> None:
    made = graft()
    phase = dataclasses.replace(
        _PHASE, steps=1, block_rate=1e-2, adapter_rate=1e-4, decay="constant"
    )
    block = made["student"][1]
    groups = (block.body.trainable_variables[:1], block.entry.trainable_variables)
    before = [group[0].numpy() for group in groups]
    train_phase(phase, **made, select="last")
    moved = [np.abs(g[0].numpy() - b).max() for g, b in zip(groups, before, strict=True)]
    # Adam's first update is as large as the rate.
    np.testing.assert_allclose(moved, [1e-2, 1e-4], rtol=1e-2)


def test_heldout_selection_never_makes_things_worse(graft: GraftFactory) -> None:
    made = graft()
    train_phase(_PHASE, **made)
    before = read_weights(made["student"])
    result = train_phase(_WILD, **made)
    assert result.kept_step == 0
    assert result.heldout_loss_end == result.heldout_loss_start
    assert _equal(before, read_weights(made["student"]))


def test_last_keeps_the_last_step(graft: GraftFactory) -> None:
    made = graft()
    train_phase(_PHASE, **made)
    result = train_phase(_WILD, **made, select="last")
    assert result.kept_step == 24
    assert result.heldout_loss_end > result.heldout_loss_start


def test_no_steps_measures_and_trains_nothing(graft: GraftFactory) -> None:
    made = graft()
    before = read_weights(made["student"])
    result = train_phase(dataclasses.replace(_PHASE, steps=0), **made)
    assert (result.steps, result.kept_step, result.loss_start) == (0, 0, None)
    assert np.isfinite(result.heldout_loss_start)
    assert _equal(before, read_weights(made["student"]))


def test_a_span_of_kept_blocks_has_nothing_to_train(graft: GraftFactory) -> None:
    result = train_phase(_PHASE, **graft(kept=(1,)))
    assert result.steps == 0
    assert result.heldout_agreement_end == 1.0


def test_trained_statistics_move_in_the_span_only(graft: GraftFactory) -> None:
    made = graft(batchnorm=True)
    statistics = [b.body.non_trainable_variables for b in made["student"][:2]]
    before = [[v.numpy() for v in block] for block in statistics]
    train_phase(_PHASE, **made, select="last")
    after = [[v.numpy() for v in block] for block in statistics]
    assert _equal(before[0], after[0])
    assert not _equal(before[1], after[1])


def test_frozen_statistics_stay(graft: GraftFactory) -> None:
    made = graft(batchnorm=True)
    frozen = tuple(dataclasses.replace(b, train_statistics=False) for b in made["student"])
    statistics = [v for b in frozen for v in b.body.non_trainable_variables]
    before = [v.numpy() for v in statistics]
    train_phase(_ALL, **{**made, "student": frozen}, select="last")
    assert _equal(before, [v.numpy() for v in statistics])


@pytest.mark.parametrize(("stage", "suffix"), [(1, ""), (2, "_two")])
def test_a_loss_that_is_not_finite_stops_with_phase_and_step(
    graft: GraftFactory, stage: int, suffix: str
) -> None:
    made = graft()
    made["loss"] = lambda student, teacher: made_loss(student, teacher)
    made_loss = lambda s, t: tf.reduce_sum(tf.exp(tf.abs(s - t) * 50), -1)  # noqa: E731
    wild = dataclasses.replace(_PHASE, block_rate=1e3, adapter_rate=2e3, stage=stage)
    with pytest.raises(KgraftError) as caught:
        train_phase(wild, **made)
    message = str(caught.value)
    assert message.startswith("phase one/block1: the ")
    assert " of 24; " in message
    assert f"lower --block_rate{suffix} (now 1000) and --adapter_rate{suffix} (now 2000)" in message


def test_progress_tells_every_loss_and_the_heldout_measurements(graft: GraftFactory) -> None:
    seen: list[Progress] = []
    result = train_phase(_PHASE, **graft(), on_progress=seen.append)
    losses = np.concatenate([p.losses for p in seen])
    assert len(losses) == 24
    np.testing.assert_allclose(losses[0], result.loss_start)
    assert [p.step for p in seen if p.heldout_loss is not None] == list(range(3, 25, 3))


def test_a_student_made_outside_the_scope_is_refused(graft: GraftFactory) -> None:
    made = graft()
    made["student"] = make_student(made["chain"])
    with pytest.raises(KgraftError, match=r"within strategy.scope\(\); .* was not"):
        train_phase(_PHASE, **made)


def test_student_and_chain_must_have_as_many_blocks(graft: GraftFactory) -> None:
    made = graft()
    made["student"] = made["student"][:2]
    with pytest.raises(KgraftError, match="the teacher has 3 blocks and the student 2"):
        train_phase(_PHASE, **made)


def test_rates_decay_over_the_phase() -> None:
    # The first tenth of 24 steps are 2.
    rises = [rate_at(_PHASE, 0.6, step) for step in range(3)]
    assert rises == pytest.approx([0.2, 0.4, 0.6])
    assert rate_at(_PHASE, 0.5, 13) == pytest.approx(0.25)
    assert rate_at(_PHASE, 0.5, 24) == pytest.approx(0.0, abs=1e-7)
    assert rate_at(dataclasses.replace(_PHASE, decay="constant"), 0.5, 20) == 0.5


def test_a_phase_lets_its_data_go(graft: GraftFactory) -> None:
    made = graft()
    # TensorFlow reads aligned views where they are, and holds them while a graph does.
    views = aligned_empty(made["bank"].views.shape, made["bank"].views.dtype)
    views[:] = made["bank"].views
    made["bank"] = ViewBank(views, chain=made["chain"], preprocess="unit")
    train_phase(_ALL, **made)
    held = weakref.ref(views)
    del made, views
    gc.collect()
    assert held() is None


def test_weights_that_are_not_kept_are_let_go_while_it_trains() -> None:
    """All of them together can be many times the student."""
    alive: list[weakref.ref[np.ndarray]] = []

    def measured() -> Iterator[Measured]:
        alive.clear()
        for step, loss in enumerate([3.0, 1.0, 2.0, 1.0, 5.0]):
            weights = np.full(3, step)
            alive.append(weakref.ref(weights))
            yield Measured(step, loss, 0.5, [weights])
            del weights
            assert sum(found() is not None for found in alive) <= 2

    start, kept = keep(measured(), "heldout")
    assert (start.step, start.weights, kept.step) == (0, [], 1)
    np.testing.assert_array_equal(kept.weights[0], [1, 1, 1])
    assert keep(measured(), "last")[1].step == 4
    assert keep(measured(), "heldout", settled=2)[1].step == 3
