"""Channel scores: the energy that readers would miss."""

import keras
import numpy as np
from keras import layers as kl
from small_models import conv, images, trained

from kgraft.graph import trace_model
from kgraft.students.channels import channel_groups
from kgraft.students.importance import channel_scores


def graph_of(build, shape):
    image = keras.Input(shape)
    return trace_model(keras.Model(image, build(image)))


def energy_alone(layer, x, channel):
    """Mean energy of what a channel alone makes a layer put out."""
    only = np.zeros_like(x)
    only[..., channel] = x[..., channel]
    y = only @ np.asarray(layer.kernel).reshape(x.shape[-1], -1)
    return np.square(y, dtype="float64").sum(axis=-1).mean()


def test_scores_are_the_energy_each_channel_brings():
    def build(x):
        return kl.Add()([conv(x, 4, 1, name="one"), conv(x, 4, 1, name="two")])

    graph = graph_of(build, (5, 5, 6))
    groups = channel_groups(graph)
    x = images(3, (5, 5, 6))
    scores = channel_scores(graph, groups, x)
    layers = [graph.call(name).op for name in ("one", "two")]
    wanted = [sum(energy_alone(layer, x, c) for layer in layers) for c in range(6)]
    np.testing.assert_allclose(scores[groups.of("input")[0]], wanted, rtol=1e-5)


def test_scores_of_flattened_channels_sum_over_places():
    def build(x):
        return kl.Dense(3, name="dense")(kl.Flatten(name="flat")(conv(x, 4, name="conv")))

    graph = graph_of(build, (2, 2, 3))
    groups = channel_groups(graph)
    x = images(5, (2, 2, 3))
    flat = np.asarray(graph.run(x)["flat"])
    alone = [energy_alone(graph.call("dense").op, flat, f) for f in range(16)]
    wanted = np.reshape(alone, (4, 4)).sum(axis=0)
    np.testing.assert_allclose(
        channel_scores(graph, groups, x)[groups.of("conv")[0]], wanted, rtol=1e-5
    )


def test_scores_of_concatenated_channels_go_to_their_groups():
    def build(x):
        parts = [conv(x, 2, name="a"), conv(x, 3, name="b")]
        return conv(kl.Concatenate(name="row")(parts), 4, 1, name="reader")

    graph = graph_of(build, (4, 4, 3))
    groups = channel_groups(graph)
    x = images(3, (4, 4, 3))
    row = np.asarray(graph.run(x)["row"])
    wanted = [energy_alone(graph.call("reader").op, row, c) for c in range(5)]
    scores = channel_scores(graph, groups, x)
    got = np.concatenate([scores[groups.of(name)[0]] for name in ("a", "b")])
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_groups_that_nobody_reads_have_no_score():
    graph = graph_of(lambda x: conv(x, 4, name="conv"), (4, 4, 3))
    groups = channel_groups(graph)
    scores = channel_scores(graph, groups, images(2, (4, 4, 3)))
    assert set(scores) == set(groups.of("input"))


def test_a_reader_of_any_kind_scores_its_channels():
    class Standardized(kl.Conv2D):
        pass

    for build in (Standardized, lambda *a: kl.Conv2D(*a, activation=kl.PReLU())):
        image = keras.Input((6, 6, 3))
        graph = trace_model(trained(keras.Model(image, build(4, 3)(image))))
        groups = channel_groups(graph)
        assert set(channel_scores(graph, groups, images(4, (6, 6, 3)))) == {*groups.of(graph.input)}
