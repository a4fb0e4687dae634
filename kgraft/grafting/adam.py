"""Adam with one kernel per variable."""

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, its update of a variable done by TensorFlow's fused kernel.

    The arithmetic is the same up to rounding (Kingma and Ba, arXiv 1412.6980, the form with the
    corrections in the rate). Written as single operations it goes through a variable's memory about
    ten times, which on a processor takes as long as a small block's gradients.
    """

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Updates one variable and its moments.

        Args:
            gradient: dense, of the variable's shape.
            variable: a TensorFlow variable, on one replica.
            learning_rate: of this update.
        """
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
