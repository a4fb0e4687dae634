"""Grafts as functions: what they read, compute and list for training."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from grafting_cases import GraftFactory, make_bank, make_views

from kgraft.grafting import Phase, make_strategy
from kgraft.grafting.span import (
    Objective,
    Reads,
    adapter_variables,
    block_variables,
    run_teacher,
    state_variables,
)


@functools.cache
def _shared(**options: Any) -> dict[str, Any]:
    """What tests of many spans read and none of them changes."""
    return GraftFactory(make_strategy("one_device"))(**options)


def _phase(start: int, stop: int) -> Phase:
    return Phase("span", start, stop, 1, 1.0, 1.0)


def _objective(made: dict, phase: Phase, feature_weight: float = 0.5) -> Objective:
    reads = Reads.of(phase, made["bank"], features=feature_weight > 0)
    return Objective(
        phase, made["chain"], made["student"], reads, "unit", made["loss"], feature_weight
    )


def _run(made: dict, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    losses, logits = objective(objective.reads.data(made["bank"]), training=False)
    return losses.numpy(), logits.numpy()


@pytest.mark.parametrize("cache_mb", [0, 1])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)])
def test_a_span_replaced_by_itself_is_the_teacher(
    batchnorm: bool, cache_mb: float, start: int, stop: int
) -> None:
    made = _shared(kept=(0, 1, 2), batchnorm=batchnorm, cache_mb=cache_mb)
    losses, logits = _run(made, _objective(made, _phase(start, stop)))
    np.testing.assert_allclose(logits, made["bank"].logits, atol=1e-5)
    np.testing.assert_allclose(losses, np.zeros(20), atol=1e-6)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)])
@pytest.mark.parametrize("positions", [(), (1,), (2,), (1, 2)])
def test_the_cache_does_not_change_the_loss(
    positions: tuple[int, ...], start: int, stop: int
) -> None:
    made = _shared(positions=positions)
    objective = _objective(made, _phase(start, stop))
    chain = made["chain"]
    out = target = run_teacher(chain.blocks[:start], make_views() / np.float32(255))
    features = []
    for index in range(start, stop):
        block = made["student"][index]
        out = out if block.entry is None else block.entry(out)
        out = block.body(out)
        out = out if block.exit is None else block.exit(out)
        target = run_teacher(chain.blocks[index : index + 1], target)
        error = tf.reduce_mean(tf.reshape(out - target, [20, -1]) ** 2, 1)
        features.append(error / tf.reduce_mean(tf.reshape(target, [20, -1]) ** 2, 1))
    logits = run_teacher(chain.blocks[stop:], out)
    expected = made["loss"](logits, made["bank"].logits) + 0.5 * np.mean(features, axis=0)
    np.testing.assert_allclose(_run(made, objective)[0], expected, rtol=1e-4, atol=1e-5)


def test_no_feature_term_reads_no_features(graft: GraftFactory) -> None:
    made = graft()
    objective = _objective(made, _phase(0, 1), feature_weight=0.0)
    assert set(objective.reads.data(made["bank"])) == {"entry", "logits"}
    losses, logits = _run(made, objective)
    expected = made["loss"](tf.constant(logits), tf.constant(made["bank"].logits))
    np.testing.assert_allclose(losses, expected, atol=1e-6)


def test_kept_blocks_have_nothing_to_train(graft: GraftFactory, batchnorm: bool) -> None:
    student = graft(kept=(1,), batchnorm=batchnorm)["student"]
    assert block_variables(student[1:2]) == adapter_variables(student[1:2]) == []
    assert state_variables(student[1]) == {}


def test_variables_by_group(graft: GraftFactory) -> None:
    student = graft(batchnorm=True)["student"]
    # Convolution and BatchNorm, two each; one adapter at the exit, for block 1 also at the entry.
    assert [len(block_variables(student[i : i + 1])) for i in range(3)] == [4, 4, 2]
    assert [len(adapter_variables(student[i : i + 1])) for i in range(3)] == [1, 2, 0]
    assert {k: len(v) for k, v in state_variables(student[1]).items()} == {
        "entry": 1,
        "body": 6,
        "exit": 1,
    }


def test_shared_variables_are_listed_once(graft: GraftFactory) -> None:
    student = graft()["student"]
    twice = (student[0], dataclasses.replace(student[0], index=1))
    assert len(block_variables(twice)) == len(block_variables(twice[:1]))


def test_heldout_banks_without_a_cache_read_views(graft: GraftFactory) -> None:
    chain = graft()["chain"]
    assert Reads.of(_phase(1, 2), make_bank(chain), features=True) == Reads(0, ())
