"""The precomputed store: recommendations laid out for look-ups, one record of fixed size for each source of a pair.

    cache.json             the pairs: source type, target type, how many recommendations
    cache.<number>.bin     for each source of the type, in the order of rows: target rows (k), then scores (k), int32

Scores are counted in millionths of a point, so they are exact; slots that are not used hold a target of -1. One read at
a known offset answers for a source; nothing is kept in memory.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid.errors import DamagedVersion
from lucid.graph.entity_types import EntityTypes
from lucid.model.pair_model import Pair
from lucid.model.top_n import TopN
from lucid.schema.training import PrecomputePair
from lucid.typing import Rows

PAIRS = "cache.json"
MILLION = 1_000_000
UNUSED = -1


def record_file(number: int) -> str:
    """Name of the file with a pair's records."""
    return f"cache.{number}.bin"


def write_pairs(folder: Path, pairs: Sequence[tuple[PrecomputePair, int]]) -> None:
    """Say which pairs are there, and how many slots their records have."""
    found = [
        {"source_type": pair.source_type, "target_type": pair.target_type, "asked": pair.max_recommendations, "k": k}
        for pair, k in pairs
    ]
    (folder / PAIRS).write_text(json.dumps(found))


def records(best: TopN, sources: int, slots: int) -> NDArray[np.int32]:
    """Records of some sources, (sources, 2, slots)."""
    found = np.empty((sources, 2, slots), np.int32)
    found[:, 0], found[:, 1] = UNUSED, 0
    first = np.searchsorted(best.positions, np.arange(sources))
    slot = np.arange(len(best.positions)) - first[best.positions]
    found[best.positions, 0, slot] = best.target_rows
    found[best.positions, 1, slot] = np.rint(best.scores * MILLION)
    return found


def record_bytes(slots: int) -> int:
    """Size of the record of one source."""
    return 8 * slots


def read_records(raw: bytes, slots: int) -> TopN:
    """What the records of some sources hold."""
    found = np.frombuffer(raw, np.int32).reshape(-1, 2, slots)
    return _used(found[:, 0], found[:, 1])


def _used(targets: NDArray[np.int32], scores: NDArray[np.int32]) -> TopN:
    """The slots that are used, of records (sources, slots)."""
    used = targets != UNUSED
    return TopN(np.nonzero(used)[0], targets[used].astype(np.int64), scores[used] / MILLION)


@dataclass(frozen=True)
class PrecomputedPair:
    """Open records of one pair; `asked` is how many recommendations were computed for each source."""

    asked: int
    slots: int
    _first_row: int
    _file: int

    def top_n(self, rows: Rows, n: int) -> TopN:
        """The first n recommendations of some sources, by their rows."""
        if (np.diff(rows) == 1).all():  # one read for all of them
            found = self._read(int(rows[0]), len(rows))
        else:
            found = np.concatenate([self._read(row, 1) for row in rows.tolist()])
        return _used(found[:, 0, :n], found[:, 1, :n])

    def record(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Targets and scores of one source, (slots,) each, as they are stored."""
        raw = self._raw(row, 1)
        return np.frombuffer(raw, np.int32, self.slots), np.frombuffer(raw, np.int32, self.slots, 4 * self.slots)

    def _read(self, first: int, count: int) -> NDArray[np.int32]:
        return np.frombuffer(self._raw(first, count), np.int32).reshape(-1, 2, self.slots)

    def _raw(self, first: int, count: int) -> bytes:
        size = record_bytes(self.slots)
        raw = os.pread(self._file, size * count, size * (first - self._first_row))
        if len(raw) < size * count:
            raise DamagedVersion("a version", "a file of records ends before its last one")
        return raw

    def __del__(self) -> None:
        os.close(self._file)


def open_pairs(folder: Path, entity_types: EntityTypes) -> dict[Pair, PrecomputedPair]:
    """The pairs of a version."""
    return {
        (pair["source_type"], pair["target_type"]): PrecomputedPair(
            pair["asked"],
            pair["k"],
            entity_types.rows(pair["source_type"]).start,
            os.open(folder / record_file(number), os.O_RDONLY),
        )
        for number, pair in enumerate(json.loads((folder / PAIRS).read_text()))
    }
