"""The student block: what replaces a block of the teacher, with adapters for its widths."""

import dataclasses

import keras
import numpy as np
from keras import layers as kl

from kgraft.graph import Call, Graph, Ref
from kgraft.students.blueprint import Blueprint


@dataclasses.dataclass(frozen=True)
class StudentBlock:
    """What replaces one block of the teacher.

    Attributes:
        index: place in the chain, from 0.
        body: the block itself; for a kept block the teacher's own, whose layers are shared with it.
        entry: adapter from the teacher's width to the body's, or None.
        exit: adapter from the body's width to the teacher's, or None.
        kept: whether this is the teacher's own block, frozen.
        train_statistics: whether BatchNorm in the body trains on batch statistics.
        notes: what a report should say about how the block was made.
        blueprint: what the body's layers are fitted to where it is solved in closed form, or None.
    """

    index: int
    body: Graph
    entry: Graph | None = None
    exit: Graph | None = None
    kept: bool = False
    train_statistics: bool = False
    notes: tuple[str, ...] = ()
    blueprint: Blueprint | None = None

    @property
    def name(self) -> str:
        """`block0`, `block1`, ..."""
        return f"block{self.index}"

    @property
    def pieces(self) -> tuple[Graph, ...]:
        """Entry adapter, body and exit adapter, as many of them as there are."""
        parts = (self.entry, self.body, self.exit)
        return tuple(part for part in parts if part is not None)


def make_adapter(name: str, in_shape: tuple[int | None, ...], width: int | None) -> Graph:
    """Makes a bias-free 1x1 map of the last axis, with random weights.

    Without bias, an adapter before a zero-padded convolution folds exactly: padding stays zero.

    Args:
        name: name of its layer.
        in_shape: `[batch, height, width, channels]` or any other shape with channels last.
        width: channels it makes.

    Returns:
        A graph of one layer: a 1x1 `Conv2D` for images, a `Dense` otherwise.
    """
    rank = len(in_shape)
    layer = (
        kl.Conv2D(width, 1, use_bias=False, name=name)
        if rank == 4
        else kl.Dense(width, use_bias=False, name=name)
    )
    layer.build(in_shape)
    source = f"{name}_input"
    call = Call(name, layer, (Ref(source),), {}, (name,))
    return Graph(source, name, (call,), {source: in_shape, name: (*in_shape[:-1], width)})


def adapter_layer(adapter: Graph) -> keras.layers.Layer:
    """Returns the one layer of an adapter."""
    return adapter.calls[0].op


def adapter_matrix(adapter: Graph) -> np.ndarray:
    """Returns an adapter's weights as `[in_channels, out_channels]`."""
    kernel = np.asarray(adapter_layer(adapter).kernel)
    return kernel.reshape(kernel.shape[-2:])


def set_adapter_matrix(adapter: Graph, matrix: np.ndarray) -> None:
    """Sets an adapter's weights from `[in_channels, out_channels]`."""
    layer = adapter_layer(adapter)
    layer.set_weights([matrix.reshape(layer.kernel.shape)])
