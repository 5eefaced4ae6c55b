"""Arrays in files, mapped into memory: nothing is read before it is touched, and the system may let go of it again.

A mapped file that somebody cuts short in its place is worse than a wrong answer: the rest of its last page reads as
zeros, and touching a page beyond ends the process (SIGBUS), with no exception to catch. Lucid never writes to published
files; it removes or renames them, which leaves a mapping whole. For files that others cut, `is_whole` asks for the size
before an answer, which leaves the moment between asking and touching.
"""

import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

_DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "U8": "u1", "BOOL": "?"}


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors."""
    # The library writes the memory as it lies, so an array with gaps would be read back as other numbers.
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)


class MappedTensors(Mapping[str, NDArray[Any]]):
    """The arrays of a safetensors file, read-only. The file may be removed meanwhile, but not changed."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (length,) = struct.unpack_from("<Q", self.mapping)
        self._layout: dict[str, Any] = json.loads(self.mapping[8 : 8 + length])
        self._layout.pop("__metadata__", None)
        self._start = 8 + length

    def is_whole(self) -> bool:
        """Whether the file still has the bytes that were mapped."""
        return self.mapping.size() >= len(self.mapping)

    def offset(self, name: str) -> int:
        """Where an array begins in the mapping, in bytes."""
        return int(self._start + self._layout[name]["data_offsets"][0])

    def __getitem__(self, name: str) -> NDArray[Any]:
        part = self._layout[name]
        count = int(np.prod(part["shape"], dtype=np.int64))
        return np.frombuffer(self.mapping, _DTYPES[part["dtype"]], count, self.offset(name)).reshape(part["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout)

    def __len__(self) -> int:
        return len(self._layout)
