"""Ids and names of a version's entities, as JSON texts that go into answers as they are.

One file of bytes and offsets, mapped into memory: a million entities cost no time to open, and finding one by its id
takes microseconds.
"""

import mmap
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import duckdb
import numpy as np
import orjson

from lucid.interacted import Rows
from lucid.tensors import MappedTensors, write_tensors

_NOTHING = b""
"""Id of a row whose entity was erased."""


def write_texts(path: Path, entities: Path) -> None:
    """Write the texts of `entities.parquet`, whose rows are counted from 0."""
    texts: list[bytes] = []
    with duckdb.connect() as connection:
        found = connection.execute("SELECT id, name FROM read_parquet(?) ORDER BY row", [str(entities)])
        while rows := found.fetchmany(100_000):
            for entity_id, name in rows:
                texts += (_NOTHING if entity_id is None else orjson.dumps(entity_id), orjson.dumps(name or ""))
    ids = texts[::2]
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int32)
    starts = np.fromiter(accumulate(map(len, texts), initial=0), np.int64)
    write_tensors(path, {"texts": np.frombuffer(b"".join(texts), np.uint8), "starts": starts, "by_id": by_id})


class Texts:
    """The texts of one version; see `write_texts`."""

    def __init__(self, path: Path) -> None:
        tensors = MappedTensors(path)
        # Slices of the mapping itself are several times faster than those of an array on it.
        self._texts = tensors.mapping
        starts = tensors["starts"] + tensors.offset("texts")
        self._sorted = _Sorted(self._texts, starts.data, tensors["by_id"].data)
        # Where the id of each row begins, where it ends and the name begins, and where that ends.
        self._places = np.lib.stride_tricks.as_strided(starts, (len(starts) // 2, 3), (16, 8))

    def row(self, entity_id: bytes) -> int | None:
        """The row of an entity whose id is given as JSON; None where there is none."""
        place = bisect_left(self._sorted, entity_id)
        if place < len(self._sorted) and self._sorted[place] == entity_id:
            return self._sorted.rows[place]
        return None

    def row_of(self, entity_id: str) -> int | None:
        """The same for an id as it is."""
        return self.row(orjson.dumps(entity_id))

    def of(self, rows: Rows) -> tuple[list[bytes], list[bytes]]:
        """Ids and names as JSON."""
        begin, middle, end = self._places[rows].T.tolist()
        return self._slices(begin, middle), self._slices(middle, end)

    def _slices(self, begin: list[int], end: list[int]) -> list[bytes]:
        texts = self._texts
        return [texts[low:high] for low, high in zip(begin, end, strict=True)]


class _Sorted(Sequence[bytes]):
    """Ids in their order."""

    def __init__(self, texts: mmap.mmap, starts: memoryview, rows: memoryview) -> None:
        self._texts, self._starts, self.rows = texts, starts, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # only ever one place
        row = 2 * self.rows[place]
        return self._texts[self._starts[row] : self._starts[row + 1]]
