"""The chain of all blocks is the teacher, for every cut set."""

import numpy as np
import pytest
from graph_cases import SHAPE, drawn_model, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import images, small_model

from kgraft.graph import concat, find_cuts, split_chain, trace_model


def run(chain, x):
    for block in chain.blocks:
        x = block.graph(x)
    return x


def some_cuts(graph, rng):
    """Cut sets: none, all, and some drawn ones."""
    cuts = find_cuts(graph)
    drawn = [tuple(c for c in cuts if rng.random() < share) for share in (0.1, 0.5, 0.8)]
    return [(), cuts, *drawn]


def test_blocks_in_a_row_are_the_teacher(small_teacher):
    x = images()
    graph = trace_model(small_teacher)
    wanted = small_teacher(x, training=False)
    for cuts in [*some_cuts(graph, np.random.default_rng(0)), *((c,) for c in find_cuts(graph))]:
        np.testing.assert_array_equal(run(split_chain(graph, cuts), x), wanted)


def test_blocks_in_a_row_are_the_real_architecture(application):
    x = images(2, application.input_shape[1:])
    graph = trace_model(application)
    wanted = application(x, training=False)
    for cuts in some_cuts(graph, np.random.default_rng(0)):
        np.testing.assert_array_equal(run(split_chain(graph, cuts), x), wanted)


@given(networks, st.integers(0, 2**16))
@settings(max_examples=8, deadline=None)
def test_blocks_in_a_row_are_the_drawn_network(pieces, seed):
    model = drawn_model(pieces)
    x = images(2, SHAPE)
    graph = trace_model(model)
    for cuts in some_cuts(graph, np.random.default_rng(seed)):
        chain = split_chain(graph, cuts)
        np.testing.assert_array_equal(run(chain, x), model(x, training=False))
        joined = concat(tuple(block.graph for block in chain.blocks))
        assert joined == graph


@pytest.fixture
def chain():
    return split_chain(trace_model(small_model("residual")), ("stem_relu", "res1_add"))


def test_blocks_know_their_place(chain):
    assert [block.name for block in chain.blocks] == ["block0", "block1", "block2"]
    assert [block.index for block in chain.blocks] == [0, 1, 2]
    ends = [(block.entry_cut, block.exit_cut) for block in chain.blocks]
    assert ends == [("input", "stem_relu"), ("stem_relu", "res1_add"), ("res1_add", "logits")]


def test_each_call_is_in_one_block_and_layers_are_shared(chain):
    names = [call.name for block in chain.blocks for call in block.graph.calls]
    assert names == [call.name for call in chain.graph.calls]
    ops = [call.op for block in chain.blocks for call in block.graph.calls]
    assert all(a is call.op for a, call in zip(ops, chain.graph.calls, strict=True))


def test_shapes_at_the_cuts(chain):
    shapes = [(block.graph.input_shape, block.graph.output_shape) for block in chain.blocks]
    assert shapes == [
        ((None, 12, 12, 3), (None, 12, 12, 8)),
        ((None, 12, 12, 8), (None, 6, 6, 12)),
        ((None, 6, 6, 12), (None, 5)),
    ]
