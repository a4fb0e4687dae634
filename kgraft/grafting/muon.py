"""Muon for the kernels of convolutions and dense layers, Adam for all other weights."""

import math
from typing import Any

import keras
import tensorflow as tf

from kgraft.grafting.adam import FusedAdam

MOMENTUM = 0.95
# Keras's own number; the orthogonal part is close enough to one after these.
_NEWTON_SCHULZ_STEPS = 5


class KernelMuon(FusedAdam):
    """Moves kernels by the orthogonal part of their momentum (Jordan et al., 2024, "Muon").

    A kernel is the matrix `[inputs of one output, outputs]`. All directions of that matrix move by
    as much, and by about as much as in Adam at the same rate (Liu et al., arXiv 2502.16982), so
    that one rate does for kernels and the rest. Keras's Muon has the arithmetic, but gives it to
    matrices only and Adam to convolutions.
    """

    def __init__(self, learning_rate: Any, *, epsilon: float) -> None:
        """Makes the optimiser.

        Args:
            learning_rate: a number or a Keras schedule, for kernels and all other weights.
            epsilon: of Adam.
        """
        super().__init__(learning_rate, epsilon=epsilon, name="kernel_muon")
        self._matrices = keras.optimizers.Muon(name="matrices")

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Updates one variable and its moments.

        Args:
            gradient: dense, of the variable's shape.
            variable: a TensorFlow variable, on one replica.
            learning_rate: of this update.
        """
        if not is_matrix(variable.shape):
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[self._get_variable_index(variable)]
        gradient = tf.cast(gradient, variable.dtype)
        momentum.assign(MOMENTUM * momentum + gradient)
        # Nesterov's: the gradient counts once more.
        moved = tf.reshape(gradient + MOMENTUM * momentum, [-1, variable.shape[-1]])
        update = self._matrices.zeropower_via_newtonschulz5(moved, _NEWTON_SCHULZ_STEPS)
        step = tf.cast(learning_rate, variable.dtype) * self._matrices.lr_adjust(update)
        variable.assign_sub(tf.reshape(step, variable.shape))


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Whether a weight mixes channels: a bias or a depthwise kernel is not a matrix.

    Args:
        shape: of the weight, output channels last.
    """
    return len(shape) > 1 and min(math.prod(shape[:-1]), shape[-1]) > 1
