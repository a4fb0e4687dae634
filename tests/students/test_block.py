"""Adapters as layers and as matrices."""

import numpy as np
import pytest
from keras import layers as kl
from small_models import images

from kgraft.graph import trace_model
from kgraft.students import StudentBlock, adapter_layer, adapter_matrix, make_adapter
from kgraft.students.block import set_adapter_matrix


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((None, 4, 5, 6), kl.Conv2D), ((None, 6), kl.Dense), ((None, 7, 6), kl.Dense)],
)
def test_adapter_is_a_map_of_the_last_axis_without_bias(shape, kind):
    adapter = make_adapter("block0_exit", shape, 3)
    assert isinstance(adapter_layer(adapter), kind)
    assert (adapter.input_shape, adapter.output_shape) == (shape, (*shape[:-1], 3))
    assert [variable.shape[-2:] for variable in adapter.variables] == [(6, 3)]
    matrix = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    set_adapter_matrix(adapter, matrix)
    np.testing.assert_array_equal(adapter_matrix(adapter), matrix)
    x = images(2, shape[1:])
    np.testing.assert_allclose(adapter(x), x @ matrix, atol=1e-5)


def test_a_block_is_named_by_its_place(small_teacher):
    assert StudentBlock(3, trace_model(small_teacher)).name == "block3"
