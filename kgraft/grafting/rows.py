"""Where a view bank keeps the rows of a position: in memory or in a file."""

import mmap
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from kgraft.data.aligned import ALIGNMENT, aligned_empty
from kgraft.errors import KgraftError


def shared_tensor(array: np.ndarray) -> tf.Tensor:
    """Makes a tensor in host memory that has an array's values.

    Args:
        array: any array; do not change it afterwards.

    Returns:
        The tensor, on the array's own memory where its place allows it, else on a copy.
    """
    placed = array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous
    # TensorFlow does not check the alignment itself: it aborts.
    if placed and array.flags.writeable and array.size:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    with tf.device("CPU:0"):
        return tf.constant(array)


class MemoryRows:
    """Rows in memory.

    Attributes:
        array: the rows, `[n, ...]`.
        dtype: of their values.
        tensor: the same memory as a tensor.
    """

    def __init__(self, array: np.ndarray) -> None:
        """Takes rows as they are; `empty` makes room for some to come."""
        self.array = array
        self.dtype = array.dtype
        self.tensor = shared_tensor(array)

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: Any) -> "MemoryRows":
        """Makes room for rows `[n, ...]`."""
        return cls(aligned_empty(shape, dtype))

    def put(self, first: int, values: np.ndarray) -> None:
        """Sets the rows from `first` on."""
        self.array[first : first + len(values)] = values

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        """Returns some rows."""
        return self.array[rows]

    def close(self) -> None:
        """Nothing: the memory goes with the last who reads it."""


class FileRows:
    """Rows in a file without a name, which is gone as soon as nobody has it open.

    That way no run leaves one behind, however it ends, and runs that share a folder do not meet.
    The file is mapped anew for each read, so that what was read does not stay in memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, folder: str | Path | None) -> None:
        """Opens the file.

        Args:
            shape: of all rows, `[n, ...]`.
            dtype: of their values.
            folder: where the file is, made where it is missing; None for the system's own for such
                files.

        Raises:
            KgraftError: the folder cannot be written to.
        """
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._folder = folder
        try:
            if folder is not None:
                Path(folder).mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            raise self._not_written(error) from error

    def put(self, first: int, values: np.ndarray) -> None:
        """Writes the rows from `first` on.

        Args:
            first: number of the first row.
            values: `[rows, ...]`.

        Raises:
            KgraftError: the disk is full.
        """
        try:
            self._file.seek(first * self._row_bytes)
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
            self._file.flush()
        except OSError as error:
            raise self._not_written(error) from error

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        """Returns some rows."""
        pages = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        # A copy, also of a slice: the mapping is to go.
        return np.array(np.frombuffer(pages, self.dtype).reshape(self.shape)[rows])

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Reads rows within a compiled step, on the host.

        Args:
            rows: numbers of the rows, `[batch]`.

        Returns:
            `[batch, ...]`, in the rows' own type.
        """
        found = tf.numpy_function(self.read, [rows], tf.as_dtype(self.dtype), stateful=False)
        found.set_shape([*rows.shape, *self.shape[1:]])
        return found

    def close(self) -> None:
        """Gives the disk space back."""
        self._file.close()

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def _not_written(self, error: OSError) -> KgraftError:
        size = self.shape[0] * self._row_bytes / 2**20
        folder = self._folder or tempfile.gettempdir()
        return KgraftError(
            f"cannot write {size:,.0f} MiB of activations to {folder} ({error.strerror}): lower "
            "--spill_mb, or give a --workdir with more room"
        )


# What steps gather rows of.
Source: TypeAlias = "tf.Tensor | FileRows"


def gather_rows(source: Source, rows: tf.Tensor) -> tf.Tensor:
    """Gathers rows for a step.

    Args:
        source: what `ViewBank.rows_of` gives.
        rows: numbers of the rows, `[batch]`.

    Returns:
        `[batch, ...]`: pixels in the type they are kept in, all else in float32.
    """
    found = source.gather(rows) if isinstance(source, FileRows) else tf.gather(source, rows)
    return tf.cast(found, tf.float32) if found.dtype == tf.float16 else found
