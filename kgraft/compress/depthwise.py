"""Depthwise kernels rounded with a range for each channel, as LiteRT stores them.

tensorflow-model-optimization gives a kernel a range for each of its last axis. In a depthwise one
that is the multiplier, usually 1, so that all channels would share one range and the thin ones
among them lose most of their steps.
"""

import functools
from typing import Any

from kgraft.compress.legacy import load_tf_keras, load_tfmot


@functools.cache
def depthwise_classes() -> dict[str, type]:
    """Makes what tensorflow-model-optimization asks of a depthwise convolution.

    Returns:
        `config`, to annotate a layer with, and `quantizer`, its part for the kernel.
    """
    import tensorflow as tf

    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantizers as quantizers,
    )

    class DepthwiseWeightsQuantizer(quantizers.Default8BitConvWeightsQuantizer):
        """Takes `[height, width, channels, multiplier]` as `[height, width, 1, outputs]`."""

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            outputs = tensor_shape[-2] * tensor_shape[-1]

            def limit(suffix: str, value: float) -> Any:
                start = load_tf_keras().initializers.Constant(value)
                return layer.add_weight(
                    name + suffix, shape=(outputs,), initializer=start, trainable=False
                )

            return {"min_var": limit("_min", -6.0), "max_var": limit("_max", 6.0)}

        def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
            shape = inputs.shape
            flat = tf.reshape(inputs, (*shape[:-2], 1, shape[-2] * shape[-1]))
            return tf.reshape(super().__call__(flat, training, weights, **kwargs), shape)

    class DepthwiseQuantizeConfig(registry.Default8BitConvQuantizeConfig):
        """A depthwise convolution as tensorflow-model-optimization has it, but for the kernel."""

        def __init__(self) -> None:
            super().__init__(["depthwise_kernel"], ["activation"], False)
            self.weight_quantizer = DepthwiseWeightsQuantizer()

        def get_config(self) -> dict[str, Any]:
            return {}

    return {"config": DepthwiseQuantizeConfig, "quantizer": DepthwiseWeightsQuantizer}
