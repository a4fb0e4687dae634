"""Rows in memory and on disk: the same values, and nothing left behind."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from grafting_cases import load, start_distil, wait_distil

from kgraft.data.aligned import aligned_empty
from kgraft.errors import KgraftError
from kgraft.grafting.rows import FileRows, MemoryRows, gather_rows, shared_tensor

_VALUES = np.random.default_rng(0).normal(size=[20, 4, 3]).astype(np.float32)


def _on_disk(folder: Path | None, dtype: str = "float32") -> FileRows:
    rows = FileRows((20, 4, 3), dtype, folder)
    for first in (0, 8, 16):
        rows.put(first, _VALUES[first : first + 8])
    return rows


def test_a_tensor_shares_an_aligned_array() -> None:
    array = aligned_empty((5, 3), np.float32)
    array[...] = 1
    tensor = shared_tensor(array)
    assert np.shares_memory(np.asarray(tensor), array)
    assert "CPU:0" in tensor.device
    array[2] = 7
    np.testing.assert_array_equal(tf.gather(tensor, [2, 1]), [[7] * 3, [1] * 3])


def test_other_arrays_are_copied() -> None:
    array = aligned_empty((5, 3), np.float32)
    array[...] = np.arange(15).reshape(5, 3)
    fixed = array.copy()
    fixed.flags.writeable = False
    for other in (array[1:], array[:, ::2], fixed, np.empty((0, 3), np.float32)):
        tensor = shared_tensor(other)
        assert not np.shares_memory(np.asarray(tensor), other)
        np.testing.assert_array_equal(tensor, other)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_come_back_as_they_were_put(tmp_path: Path, dtype: str) -> None:
    disk, memory = _on_disk(tmp_path, dtype), MemoryRows.empty((20, 4, 3), dtype)
    memory.put(0, _VALUES)
    for rows in (disk, memory):
        for chosen in (np.array([3, 17, 3]), slice(None), slice(2, 9)):
            np.testing.assert_array_equal(rows.read(chosen), _VALUES[chosen].astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_steps_gather_the_same_from_memory_and_disk(tmp_path: Path, dtype: str) -> None:
    memory = MemoryRows.empty((20, 4, 3), dtype)
    memory.put(0, _VALUES)

    @tf.function(input_signature=[tf.TensorSpec([6], tf.int32)])
    def step(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = gather_rows(memory.tensor, rows), gather_rows(disk, rows)
        assert all(x.shape == [6, 4, 3] and x.dtype == tf.float32 for x in found)
        return found

    disk = _on_disk(tmp_path, dtype)
    chosen = np.array([19, 0, 7, 7, 12, 3], np.int32)
    for found in step(chosen):
        np.testing.assert_array_equal(found, _VALUES[chosen].astype(dtype).astype(np.float32))


def test_pixels_keep_their_type() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    found = gather_rows(MemoryRows(pixels).tensor, tf.constant([2, 0]))
    assert found.dtype == tf.uint8
    np.testing.assert_array_equal(found, pixels[[2, 0]])


def test_the_file_has_no_name_and_its_room_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    rows = _on_disk(folder)
    assert folder.is_dir() and not list(folder.iterdir())
    assert os.fstat(rows._file.fileno()).st_size == _VALUES.nbytes
    rows.close()
    with pytest.raises(ValueError, match="closed file"):
        rows.read(slice(None))


def test_what_was_read_does_not_depend_on_the_file(tmp_path: Path) -> None:
    rows = _on_disk(tmp_path)
    found = rows.read(slice(0, 4))
    rows.put(0, np.zeros_like(_VALUES))
    rows.close()
    np.testing.assert_array_equal(found, _VALUES[:4])


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KgraftError, match=r"cannot write 0 MiB of activations to .*/file .*exists"):
        FileRows((20, 4, 3), "float32", tmp_path / "file")


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full:
        def seek(self, place: int) -> None:
            pass

        def write(self, data: memoryview) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    rows = FileRows((1000, 1024, 8), "float32", tmp_path)
    message = r"cannot write 31 MiB of activations to .* \(No space left .*\): lower --spill_mb"
    with pytest.raises(KgraftError, match=message):
        rows.put(0, np.zeros([1, 1024, 8], np.float32))


def test_replicas_read_the_same_file(tmp_path: Path) -> None:
    options = {"strategy": "mirrored", "batch": 7, "last": 2}
    spill = {"cache_mb": 0, "spill_mb": 1}
    wait_distil(
        start_distil(
            tmp_path,
            [{"name": "memory", **options}, {"name": "disk", **options, "bank": spill}],
        )
    )
    for memory, disk in zip(load(tmp_path, "memory"), load(tmp_path, "disk"), strict=True):
        np.testing.assert_allclose(disk, memory, atol=1e-6)
