"""Thin blocks do what the full block would do without the channels that went."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import assert_close, conv, images, small_model, state

from kgraft.graph import clone_graph, fold_batch_norm, trace_model
from kgraft.students.channels import channel_groups, is_conv
from kgraft.students.thinning import plan_widths, thin_graph


def planned(graph, *, ratio=0.5, scores=None, entry_kept=None, lock_exit=True):
    groups = channel_groups(graph)
    plan = plan_widths(
        groups,
        graph,
        ratio=ratio,
        scores=scores or {},
        entry_kept=entry_kept,
        lock_exit=lock_exit,
    )
    return groups, plan


def drawn_scores(graph, seed=0):
    rng = np.random.default_rng(seed)
    return {group: rng.normal(size=size) for group, size in channel_groups(graph).sizes.items()}


def without_dropped(graph, groups, plan):
    """The full block in which nobody reads the channels that go."""
    masked = clone_graph(graph, trainable=True)
    for call in masked.calls:
        if is_conv(call.op):
            kernel, *bias = call.op.get_weights()
            kept = np.zeros(kernel.shape[-2], bool)
            kept[groups.kept(call.inputs[0], plan)] = True
            call.op.set_weights([kernel * kept[:, None], *bias])
    return masked


def test_a_thin_copy_is_the_block_whose_dropped_channels_nobody_reads(small_teacher):
    graph = trace_model(small_teacher)
    before = state(*graph.variables)
    groups, plan = planned(graph, scores=drawn_scores(graph))
    thin = thin_graph(graph, groups, plan, copy=True)
    assert thin.parameters < graph.parameters
    x = images()
    assert_close(thin(x), np.asarray(without_dropped(graph, groups, plan)(x)))
    for old, new in zip(before, state(*graph.variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_thin_copy_of_a_real_architecture(application):
    graph = trace_model(application)
    groups, plan = planned(graph, scores=drawn_scores(graph))
    thin = thin_graph(graph, groups, plan, copy=True)
    assert thin.parameters < 0.35 * graph.parameters
    x = images(2, application.input_shape[1:])
    wanted = np.asarray(without_dropped(graph, groups, plan)(x))
    np.testing.assert_allclose(thin(x), wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_thin_entry_reads_the_channels_that_come():
    image = keras.Input((6, 6, 8))
    x = kl.MaxPooling2D(name="down")(image)
    graph = trace_model(keras.Model(image, conv(x, 4, name="conv")))
    kept = np.array([1, 4, 6])
    groups, plan = planned(graph, entry_kept=kept)
    thin = thin_graph(graph, groups, plan, copy=True)
    assert thin.input_shape == (None, 6, 6, 3)
    x = images(2, (6, 6, 8))
    only = np.zeros_like(x)
    only[..., kept] = x[..., kept]
    assert_close(thin(x[..., kept]), np.asarray(graph(only)))


def test_the_highest_scores_stay_in_order():
    graph = trace_model(small_model("plain"))
    group = channel_groups(graph).of("conv1")[0]
    scores = {group: np.array([1.0, 9, 2, 8, 3, 7, 4, 6])}
    _, plan = planned(graph, scores=scores)
    np.testing.assert_array_equal(plan[group], [1, 3, 5, 7])


@pytest.mark.parametrize(
    ("ratio", "widths"),
    [(0.5, [4, 6, 5]), (0.25, [2, 3, 2]), (0.001, [1, 1, 1]), (1.0, [8, 12, 10])],
)
def test_widths_follow_the_ratio(ratio, widths):
    graph = trace_model(small_model("plain"))
    groups, plan = planned(graph, ratio=ratio)
    thin = thin_graph(graph, groups, plan, copy=False)
    assert [thin.shapes[f"conv{i}"][-1] for i in (1, 2, 3)] == widths
    assert thin.output_shape == graph.output_shape


def test_the_exit_is_thinned_unless_locked():
    image = keras.Input((6, 6, 3))
    graph = trace_model(keras.Model(image, conv(image, 8, name="conv")))
    groups, plan = planned(graph, lock_exit=False)
    assert thin_graph(graph, groups, plan, copy=False).output_shape == (None, 6, 6, 4)
    assert planned(graph, lock_exit=True)[1] == {}


def test_locked_groups_keep_their_width():
    graph = trace_model(small_model("locked"))
    groups, plan = planned(graph)
    thin = thin_graph(graph, groups, plan, copy=True)
    widths = [thin.shapes[name][-1] for name in ("conv1", "grouped", "conv2")]
    assert widths == [8, 8, 6]


def test_fresh_weights_are_fresh_but_fixed_statistics_are_copied():
    image = keras.Input((6, 6, 3))
    layer = kl.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0], name="fixed")
    x = conv(layer(image), 8, name="conv1")
    graph = trace_model(keras.Model(image, kl.Flatten()(conv(x, 4, name="conv2"))))
    groups, plan = planned(graph)
    thin = thin_graph(graph, groups, plan, copy=False)
    x = images(2, (6, 6, 3))
    np.testing.assert_allclose(thin.run(x)["fixed"], graph.run(x)["fixed"])
    full_kernel = np.asarray(graph.call("conv1").op.kernel)
    thin_kernel = np.asarray(thin.call("conv1").op.kernel)
    assert not np.isin(thin_kernel, full_kernel).any()


def test_all_layers_of_a_thin_block_train():
    model = small_model("batch_norm")
    model.trainable = False
    graph = trace_model(model)
    groups, plan = planned(graph)
    thin = thin_graph(graph, groups, plan, copy=True)
    assert all(layer.trainable for layer in thin.layers)
    assert graph.trainable_variables == []


def test_constraints_of_the_originals_training_stay_behind():
    """They would act on kernels that have taken a BatchNorm in."""
    image = keras.Input((8, 8, 3))
    limit = keras.constraints.MaxNorm(1.0)
    x = kl.Conv2D(8, 3, kernel_constraint=limit, name="first")(image)
    x = kl.DepthwiseConv2D(3, depthwise_constraint=limit, name="each")(x)
    x = kl.Conv2D(4, 3, kernel_constraint=limit, bias_constraint=limit, name="conv")(x)
    x = kl.BatchNormalization(gamma_constraint="non_neg", name="norm")(x)
    graph = trace_model(keras.Model(image, kl.Flatten()(x)))
    folded, _ = fold_batch_norm(graph)
    assert folded.call("conv").op.kernel.constraint is None
    thin = thin_graph(graph, channel_groups(graph), {}, copy=True)
    assert all(variable.constraint is None for layer in thin.layers for variable in layer.variables)
    assert graph.call("conv").op.kernel.constraint is limit
