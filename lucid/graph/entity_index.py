"""From an entity's id to its row and back to id and name, as JSON texts that go into answers as they are.

One file, mapped into memory: a million entities cost no time to open, and finding one by its id takes microseconds.
"""

import mmap
from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.graph.entity_search import search
from lucid.store.arrays import MappedTensors, write_tensors
from lucid.store.duck import connect
from lucid.typing import Rows

_SHORT = 64
"""Texts up to this length, in bytes, also stand in columns of fixed width, which are read several times faster."""
_NOTHING = b""
"""Id of a row whose entity was erased."""


def write_entity_index(path: Path, entities: Path) -> None:
    """Write the index of `entities.parquet`, whose rows are counted from 0."""
    ids: list[bytes] = []
    names: list[bytes] = []
    pictures: list[bytes] = []
    with connect() as connection:
        source = connection.read_parquet(str(entities))
        picture = "media_url" if "media_url" in source.columns else "NULL"  # which earlier releases left out
        found = source.order("row").project(f"id, name, {picture}")
        while rows := found.fetchmany(100_000):
            ids += [_NOTHING if entity_id is None else orjson.dumps(entity_id) for entity_id, _, _ in rows]
            names += [orjson.dumps(name or "") for _, name, _ in rows]
            pictures += [(url or "").encode() for _, _, url in rows]
    hashes = np.fromiter(map(_hash, ids), np.int64, len(ids))
    by_hash = np.argsort(hashes, kind="stable")
    tensors: dict[str, NDArray[Any]] = {"hashes": hashes[by_hash], "by_hash": by_hash.astype(np.int32)}
    for name, texts in (("ids", ids), ("names", names)):
        tensors[name] = np.frombuffer(b"".join(texts), np.uint8)
        tensors[f"{name}.starts"] = np.fromiter(accumulate(map(len, texts), initial=0), np.int64)
        tensors[f"{name}.short"] = _fixed(texts)
    if any(pictures):
        tensors["pictures"] = np.frombuffer(b"".join(pictures), np.uint8)
        tensors["pictures.starts"] = np.fromiter(accumulate(map(len, pictures), initial=0), np.int64)
    write_tensors(path, tensors)


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def _fixed(texts: Sequence[bytes]) -> NDArray[np.uint8]:
    """The short ones of some texts, (n, width); the others are left empty."""
    short = [text if len(text) <= _SHORT else b"" for text in texts]
    width = max(map(len, short), default=0) or 1
    return np.array(short, dtype=f"S{width}").view(np.uint8).reshape(-1, width)


def rows_elsewhere(here: Path, there: Path) -> Rows:
    """For each row of an `entities.parquet` the row of the same entity in another, -1 where that lacks it."""
    with connect() as connection:
        found = connection.execute(
            "SELECT coalesce(there.row, -1) AS row FROM read_parquet($here) here "
            "LEFT JOIN read_parquet($there) there USING (id) ORDER BY here.row",
            {"here": str(here), "there": str(there)},
        ).fetchnumpy()
    return np.asarray(found["row"], np.int64)


class EntityIndex:
    """Ids and names of one version's entities; see `write_entity_index`."""

    def __init__(self, path: Path) -> None:
        tensors = self._tensors = MappedTensors(path)
        self._ids, self._names = _Column(tensors, "ids"), _Column(tensors, "names")
        self._hashes, self._by_hash = tensors["hashes"].data, tensors["by_hash"].data
        self._all = tensors["hashes"], tensors["by_hash"]

    def is_whole(self) -> bool:
        """See `MappedTensors.is_whole`."""
        return self._tensors.is_whole()

    def row(self, entity_id: str) -> int | None:
        """The row of an entity; None where the version holds none of that id, or it was erased."""
        return self.row_of_json(orjson.dumps(entity_id))

    def row_of_json(self, entity_id: bytes) -> int | None:
        """The row of an entity whose id is given as JSON."""
        digest = _hash(entity_id)
        position = bisect_left(self._hashes, digest)
        while position < len(self._hashes) and self._hashes[position] == digest:  # mostly once; hashes may collide
            row = self._by_hash[position]
            if self._ids[row] == entity_id:
                return row
            position += 1
        return None

    def hashes(self, rows: range) -> NDArray[np.int64]:
        """Hashes of the ids of some rows, sorted: the same in every version; without those of erased entities."""
        hashes, by_hash = self._all
        found: NDArray[np.int64] = hashes[(by_hash >= rows.start) & (by_hash < rows.stop)]
        kept: NDArray[np.int64] = found[found != _hash(_NOTHING)]
        return kept

    def ids(self, rows: Rows) -> list[bytes]:
        """Ids as JSON, empty where the entity was erased."""
        return self._ids.at(rows)

    def order_of(self, rows: Rows) -> Rows:
        """Where the id of each row stands among the ids of them all."""
        ids = np.array([orjson.loads(target) for target in self.ids(rows)], dtype=object)
        return np.argsort(np.argsort(ids))

    def names(self, rows: Rows) -> list[bytes]:
        """Names as JSON."""
        return self._names.at(rows)

    def pictures(self, rows: Rows) -> list[str]:
        """The `media_url` of entities, empty for none; versions of earlier releases have none at all."""
        if "pictures" not in self._tensors:
            return [""] * len(rows)
        texts, starts = self._tensors["pictures"].data, self._tensors["pictures.starts"].data
        return [bytes(texts[starts[row] : starts[row + 1]]).decode() for row in rows.tolist()]

    def find(self, text: str, rows: range, most: int) -> list[int]:
        """Rows of entities by a part of their names or the beginning of their ids, whatever their case.

        Those whose name begins with the text come first, then those in which a word does, then all others, then those
        found by their id; within each of these in the order of rows. Letters beyond ASCII are found as they are typed,
        in small letters, in capitals and with a capital first.
        """
        return search(text, self._names, self._ids, rows, most)


class _Column:
    """One text for each row."""

    def __init__(self, tensors: MappedTensors, name: str) -> None:
        short = tensors[f"{name}.short"]
        self._short = short.view(f"S{short.shape[1]}").ravel()
        self._texts: mmap.mmap = tensors.mapping
        self._base, self.starts = tensors.offset(name), tensors[f"{name}.starts"]
        self._starts = self.starts.data

    def __getitem__(self, row: int) -> bytes:
        return self._texts[self._base + self._starts[row] : self._base + self._starts[row + 1]]

    def joined(self, rows: range) -> tuple[bytes, NDArray[np.int64]]:
        """The texts of neighbouring rows as one, and where in it each begins, with the end of the last."""
        starts = self.starts[rows.start : rows.stop + 1]
        return self._texts[self._base + int(starts[0]) : self._base + int(starts[-1])], starts - starts[0]

    def at(self, rows: Rows) -> list[bytes]:
        found: list[bytes] = self._short.take(rows).tolist()
        if b"" in found:  # longer, or erased
            found = [text or self[row] for text, row in zip(found, rows.tolist(), strict=True)]
        return found
