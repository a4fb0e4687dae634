"""Blocks with repeated units."""

import keras
from keras import layers as kl
from small_models import conv, conv_norm_relu, trained

from kgraft.graph import Block, Graph, split_chain, trace_model
from kgraft.students.blueprint import split_activations
from kgraft.students.solved_body import solved_pattern


def pattern(block: Block) -> Graph:
    """The block as units are looked for in it."""
    return split_activations(solved_pattern(block))


def block_of(model: keras.Model, cuts: tuple[str, ...] = (), index: int = 0) -> Block:
    """One block of a model cut so."""
    return split_chain(trace_model(model), cuts).blocks[index]


def residual_stage(units: int) -> keras.Model:
    """As many residual units of one shape, six channels wide inside, four outside."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 4))
    x = image
    for index in range(units):
        y = conv_norm_relu(x, 6, name=f"unit{index}_a")
        y = kl.BatchNormalization(name=f"unit{index}_n")(conv(y, 4, name=f"unit{index}_b"))
        x = kl.ReLU(name=f"unit{index}_out")(kl.Add(name=f"unit{index}_add")([x, y]))
    return trained(keras.Model(image, x))
