"""Large arrays that TensorFlow can read in place."""

import math
from typing import Any

import numpy as np

# TensorFlow shares memory that begins at a multiple of this many bytes; numpy's own arrays do not.
ALIGNMENT = 64


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Makes an array as `numpy.empty` does, on memory that TensorFlow can share.

    Args:
        shape: of the array.
        dtype: of its values.

    Returns:
        The array, C-contiguous, its values not set.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(kind).reshape(shape)
