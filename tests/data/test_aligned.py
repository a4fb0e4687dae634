import numpy as np
import pytest

from kgraft.data.aligned import ALIGNMENT, aligned_empty


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, "float32"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (0, 4), (1000, 33)])
def test_arrays_begin_where_tensorflow_can_share_them(shape, dtype):
    made = aligned_empty(shape, dtype)
    assert made.shape == shape and made.dtype == np.dtype(dtype)
    assert made.flags.c_contiguous and made.flags.writeable
    assert not made.size or made.ctypes.data % ALIGNMENT == 0
    made[...] = 3
    assert np.all(made == 3)
