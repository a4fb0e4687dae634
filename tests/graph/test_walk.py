"""Graphs run on arrays, one call at a time."""

import numpy as np
import pytest
from small_models import assert_close, images, small_model

from kgraft.graph import batch_slices, clone_graph, run_calls, trace_model, walk


def walked(graph, x):
    """The values that are live once a walk is done."""
    *_, (_, live) = run_calls(graph, x)
    return live


def test_a_walk_ends_with_the_output(small_teacher):
    graph = trace_model(small_teacher)
    x = images(6)
    assert_close(walked(graph, x)[graph.output], np.asarray(graph(x)))


def test_calls_come_in_order_with_the_values_they_need():
    graph = trace_model(small_model("residual"))
    seen = []
    for call, live in run_calls(graph, images()):
        assert set(call.inputs) <= set(live)
        assert call.output not in live
        seen.append(call.name)
    assert seen == [call.name for call in graph.calls]


def test_values_nobody_needs_are_let_go():
    graph = trace_model(small_model("plain"))
    sizes = [len(live) for _, live in run_calls(graph, images())]
    assert max(sizes) <= 2


def test_weights_may_be_set_on_the_way():
    graph = clone_graph(trace_model(small_model("plain")), trainable=True)
    for call, values in run_calls(graph, images()):
        if call.name == "logits":
            call.op.set_weights([0 * call.op.kernel, call.op.bias])
        live = values
    np.testing.assert_array_equal(live["logits"], np.tile(graph.call("logits").op.bias, (4, 1)))


def test_batches_do_not_change_the_values(monkeypatch):
    graph = trace_model(small_model("squeeze_excite"))
    x = images(7)
    monkeypatch.setattr(walk, "_BATCH_BYTES", 2 * x[:1].nbytes)
    assert len(list(batch_slices(x))) == 4
    assert_close(walked(graph, x)[graph.output], np.asarray(graph(x)))


@pytest.mark.parametrize("grow", [1, 9, 10**9])
def test_slices_cover_all_examples_once(grow):
    x = np.zeros([1000, 64, 4], "float32")
    slices = list(batch_slices(x, x, grow=grow))
    np.testing.assert_array_equal(
        np.concatenate([np.arange(1000)[s] for s in slices]), np.arange(1000)
    )
    sizes = [s.stop - s.start for s in slices]
    assert max(sizes) == {1: 256, 9: 256, 10**9: 1}[grow]
