"""Mapped arrays: what is read is what was written, without reading the rest, and a cut file is noticed."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lucid.store.arrays import MappedTensors, write_tensors

ARRAYS: dict[str, NDArray[np.generic]] = {
    "doubles": np.linspace(-1, 1, 7),
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "gaps": np.arange(24, dtype=np.int64).reshape(4, 6)[::2, ::3],
    "short": np.array([-3, 4], np.int16),
    "bytes": np.frombuffer(b"lucid", np.uint8),
    "flags": np.array([True, False]),
    "empty": np.empty((0, 5), np.int32),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "arrays.safetensors", ARRAYS)
    return tmp_path / "arrays.safetensors"


def test_arrays_come_back_as_they_were_written(path: Path) -> None:
    """Of every type that we store, with any shape, also those that do not lie in one piece in memory."""
    found = MappedTensors(path)

    assert set(ARRAYS) == set(found)
    assert len(ARRAYS) == len(found)
    for name, array in ARRAYS.items():
        assert array.dtype == found[name].dtype
        assert np.array_equal(array, found[name])


def test_mapped_arrays_cannot_be_written(path: Path) -> None:
    """A published file is never changed."""
    with pytest.raises(ValueError, match="read-only"):
        MappedTensors(path)["matrix"][0] = 1


def test_a_removed_file_goes_on_being_read(path: Path) -> None:
    """A version that is removed while it is open answers to the end."""
    found = MappedTensors(path)
    path.unlink()

    assert found.is_whole()
    assert ARRAYS["doubles"].tolist() == found["doubles"].tolist()


def test_a_file_that_was_cut_is_not_whole(path: Path) -> None:
    """Asked before its missing bytes are touched, which would end the process."""
    found = MappedTensors(path)
    os.truncate(path, path.stat().st_size - 1)

    assert not found.is_whole()
