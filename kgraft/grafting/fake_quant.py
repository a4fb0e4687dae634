"""Student blocks that compute as an int8 file will: rounded to its grids, in floating point.

A full-integer file has a scale for each output channel of a kernel, its largest weight over 127,
and one range for each tensor between two ops (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, sections 2 and 3). Here
kernels and tensors are rounded to these grids at each step, while the weights themselves stay
float32. Gradients pass a kernel's rounding as if it were not there, and an activation's where it is
within its range.

A BatchNorm behind a kernel asks for no care. Folding it multiplies each output channel by a number,
and by that number's size the channel's largest weight too, and so its scale: a kernel that is
rounded and then folded is the kernel folded and then rounded. An adapter is no such number: it
mixes channels, so that the kernel it folds into gets another grid from the export than it had here.
Adapters themselves are not rounded.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from kgraft.grafting.bank import ViewBank
from kgraft.grafting.schedule import Phase
from kgraft.grafting.span import Student, plain_body, run_block
from kgraft.graph import Graph
from kgraft.students.block import StudentBlock

# As many views as fix the ranges of an exported file, and how many at once.
_RANGE_VIEWS = 256
_RANGE_BATCH = 64

# The weights that int8 kernels multiply by, and where their output channels are.
_KERNELS: dict[type, dict[str, tuple[int, ...]]] = {
    kl.Conv1D: {"kernel": (-1,)},
    kl.Conv2D: {"kernel": (-1,)},
    kl.Conv2DTranspose: {"kernel": (-2,)},
    kl.Dense: {"kernel": (-1,)},
    # [height, width, channels, multiplier]: a channel and a multiplier are an output channel.
    kl.DepthwiseConv2D: {"kernel": (-2, -1)},
    kl.SeparableConv2D: {"depthwise_kernel": (-2, -1), "pointwise_kernel": (-1,)},
}
# What they put out has the range of what goes in.
_SAME_RANGE = (
    kl.Cropping2D,
    kl.Dropout,
    kl.Flatten,
    kl.GlobalMaxPooling2D,
    kl.Identity,
    kl.MaxPooling2D,
    kl.Permute,
    kl.Reshape,
    kl.SpatialDropout2D,
    kl.UpSampling2D,
    kl.ZeroPadding2D,
)
_RELUS = ("relu", "relu6")


def kernels_of(op: Any) -> list[tuple[keras.Variable, tuple[int, ...]]]:
    """Lists the weights of an operation that int8 kernels multiply by.

    Args:
        op: a layer, or any other operation.

    Returns:
        Each variable and where its output channels are, as axes from the end; nothing for a layer
        of another kind.
    """
    found = [(getattr(op, name), axes) for name, axes in _KERNELS.get(type(op), {}).items()]
    # With LoRA a kernel is no variable but computed from some.
    return [(kernel, axes) for kernel, axes in found if isinstance(kernel, keras.Variable)]


def fake_int8(weights: tf.Tensor, axes: tuple[int, ...], bits: int = 8) -> tf.Tensor:
    """Rounds weights to int8 or fewer bits, symmetrically and with a scale for each output channel.

    Args:
        weights: float32, `[..., channels]` or wherever `axes` says that the channels are.
        axes: the output channels, as axes from the end; two neighbours count as one.
        bits: of the integers.

    Returns:
        The rounded weights, as floats. Gradients pass as if nothing were rounded.
    """
    shape = weights.shape
    if len(axes) > 1:
        weights = tf.reshape(weights, [*shape[: axes[0]], -1])
    axis = len(weights.shape) + axes[-1]
    others = [other for other in range(len(weights.shape)) if other != axis]
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(weights), others))

    @tf.grad_pass_through
    def rounded(values: tf.Tensor) -> tf.Tensor:
        return keras.quantizers.fake_quant_with_min_max_vars(
            values, -largest, largest, num_bits=bits, narrow_range=True, axis=axis
        )

    return tf.reshape(rounded(weights), shape)


@contextlib.contextmanager
def int8_kernels(op: Any, bits: int = 8) -> Iterator[None]:
    """Lets a layer compute with its kernels rounded; its variables are not touched.

    Args:
        op: a layer, or any other operation, which computes as ever.
        bits: of the integers.
    """
    kernels = kernels_of(op)
    if not kernels:
        yield
        return
    rounded = [(k, fake_int8(tf.convert_to_tensor(k.value), axes, bits)) for k, axes in kernels]
    with keras.StatelessScope(rounded):
        yield


def rounded_values(graph: Graph) -> tuple[str, ...]:
    """Lists the values that a full-integer file keeps in a range of their own.

    Args:
        graph: a student block's body.

    Returns:
        Names of values. A kernel, the BatchNorm and the ReLU behind it are one op, whose last value
        counts; what only moves numbers, or takes the largest, keeps the range it finds.
    """
    return tuple(
        value
        for call in graph.calls
        if not isinstance(call.op, _SAME_RANGE)
        for value in call.outputs
        if not _joined(graph, value)
    )


def _joined(graph: Graph, value: str) -> bool:
    """Whether what makes a value becomes one op with the only call that reads it."""
    maker, readers = graph.producer(value), graph.consumers(value)
    if maker is None or len(readers) != 1 or value == graph.output:
        return False
    reader = readers[0].op
    if isinstance(reader, kl.BatchNormalization):
        activation = getattr(maker.op, "activation", None)
        return type(maker.op) in _KERNELS and _name(activation) in ("linear", "none")
    return _is_relu(reader)


def _is_relu(op: Any) -> bool:
    """Whether an operation is a ReLU and nothing else: a layer or a function of `keras.ops`."""
    if isinstance(op, kl.Activation):
        return _name(op.activation) in _RELUS
    return type(op).__name__.lower() in _RELUS and not getattr(op, "negative_slope", 0)


def _name(function: Any) -> str:
    return getattr(function, "__name__", "none")


class Int8Emulation:
    """How the student blocks of a span compute as int8 kernels will.

    Kernels are rounded by what they hold at each step. Activations are rounded to the ranges that
    they had when `measure` was called last; in a block that trains BatchNorm by batch statistics
    they are left alone, since what they are at inference is not known yet. Kept blocks, adapters,
    biases and what comes into the span stay as they are.
    """

    def __init__(
        self, phase: Phase, student: Student, bank: ViewBank, *, strategy: tf.distribute.Strategy
    ) -> None:
        """Makes room for the ranges, which are all zero until they are measured.

        Args:
            phase: whose span it is.
            student: one block for each of the teacher's.
            bank: the training views, some of which fix the ranges.
            strategy: who computes with them.
        """
        self._start, self._bank = phase.start, bank
        self._span = student[phase.start : phase.stop]
        places = [(b.index, value) for b in self._span if _settled(b) for value in _rounded(b)]
        self._numbers = {place: number for number, place in enumerate(places)}
        with strategy.scope():
            # For all replicas the same, and measured anew without tracing a step again.
            self._ranges = tf.Variable(tf.zeros([len(places), 2]), trainable=False)
        self._extremes: Callable[[tf.Tensor], tf.Tensor] | None = None

    def body(self, block: StudentBlock, x: Any, training: bool) -> Any:
        """Runs the body of a block, rounded; a `RunBody`.

        Args:
            block: one of the span.
            x: what goes in, `[batch, ...]`.
            training: whether its BatchNorms train.
        """
        if block.kept:
            return plain_body(block, x, training)

        def rounded(name: str, value: Any) -> Any:
            number = self._numbers.get((block.index, name))
            if number is None or not tf.as_dtype(value.dtype).is_floating:
                return value
            low, high = tf.unstack(self._ranges[number])
            return keras.quantizers.fake_quant_with_min_max_vars(value, low, high)

        values = {block.body.input: x}
        for call in block.body.calls:
            with int8_kernels(call.op):
                made = call.run(values, training)
            values.update(zip(call.outputs, map(rounded, call.outputs, made), strict=True))
        return values[block.body.output]

    def measure(self) -> None:
        """Measures the ranges as the export will: in floats, their extremes on training views."""
        if not self._numbers:
            return
        count = min(_RANGE_VIEWS, len(self._bank))
        rows = np.linspace(0, len(self._bank) - 1, count).astype(int)
        parts = [rows[first : first + _RANGE_BATCH] for first in range(0, count, _RANGE_BATCH)]
        found = [self._extremes_of(self._bank.activation(self._start, part)) for part in parts]
        low, high = np.min(found, axis=0)[:, 0], np.max(found, axis=0)[:, 1]
        self._ranges.assign(np.stack([low, high], axis=1))

    def _extremes_of(self, entry: np.ndarray) -> np.ndarray:
        if self._extremes is None:
            spec = tf.TensorSpec([None, *entry.shape[1:]], tf.float32)
            function = tf.function(self._find, input_signature=[spec], autograph=False)
            self._extremes = function.get_concrete_function()
        return self._extremes(tf.constant(entry)).numpy()

    def _find(self, x: tf.Tensor) -> tf.Tensor:
        """Least and largest value of each place, and zero: `[places, 2]`."""
        found = dict.fromkeys(self._numbers, tf.zeros([2]))

        def body(block: StudentBlock, x: Any, training: bool) -> Any:
            values = block.body.run(x, training)
            for name in values.keys() & set(_rounded(block)):
                found[block.index, name] = _extremes(values[name])
            return values[block.body.output]

        for block in self._span:
            x = run_block(block, x, training=False, body=body)
        return tf.stack([found[place] for place in self._numbers])


def _settled(block: StudentBlock) -> bool:
    """Whether a block computes at inference what it does in training."""
    norms = any(isinstance(layer, kl.BatchNormalization) for layer in block.body.layers)
    return not block.kept and not (block.train_statistics and norms)


def _rounded(block: StudentBlock) -> Sequence[str]:
    return rounded_values(block.body)


def _extremes(value: tf.Tensor) -> tf.Tensor:
    value = tf.cast(value, tf.float32)
    return tf.stack([
        tf.minimum(tf.reduce_min(value), 0.0),
        tf.maximum(tf.reduce_max(value), 0.0),
    ])
