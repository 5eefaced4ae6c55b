"""Recommendations computed ahead, laid out for look-ups: one record of fixed size for each source of a pair.

    cache.json             the pairs: source type, target type, how many recommendations
    cache.<number>.bin     for each source of the type, in the order of rows: target rows (k), then scores (k), int32

Scores are counted in millionths of a point, so they are exact; places that are not used hold a target of -1. One read
of a known place answers for a source; nothing is kept in memory.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid.errors import DamagedVersion
from lucid.schema.training import PrecomputePair
from lucid.typing import Rows

PAIRS = "cache.json"
MILLION = 1_000_000
UNUSED = -1


def record_file(number: int) -> str:
    """Name of the file with a pair's records."""
    return f"cache.{number}.bin"


def write_pairs(folder: Path, pairs: Sequence[tuple[PrecomputePair, int]]) -> None:
    """Say which pairs are there, and how many places their records have."""
    found = [
        {"source_type": pair.source_type, "target_type": pair.target_type, "asked": pair.max_recommendations, "k": k}
        for pair, k in pairs
    ]
    (folder / PAIRS).write_text(json.dumps(found))


def records(lines: Rows, targets: Rows, scores: NDArray[np.float64], sources: int, places: int) -> NDArray[np.int32]:
    """Records of some sources, (sources, 2, places); `lines` says whose each target and score is, best first."""
    found = np.empty((sources, 2, places), np.int32)
    found[:, 0], found[:, 1] = UNUSED, 0
    first = np.searchsorted(lines, np.arange(sources))
    place = np.arange(len(lines)) - first[lines]
    found[lines, 0, place] = targets
    found[lines, 1, place] = np.rint(scores * MILLION)
    return found


@dataclass(frozen=True)
class CachedPair:
    """Open records of one pair; `asked` is how many recommendations were computed for each source."""

    asked: int
    places: int
    _first_row: int
    _file: int

    def read(self, first: int, count: int) -> NDArray[np.int32]:
        """Records of `count` rows from the row `first`, (count, 2, places)."""
        return np.frombuffer(self._raw(first, count), np.int32).reshape(-1, 2, self.places)

    def read_one(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Targets and scores of one row, (places,) each."""
        raw = self._raw(row, 1)
        return np.frombuffer(raw, np.int32, self.places), np.frombuffer(raw, np.int32, self.places, 4 * self.places)

    def _raw(self, first: int, count: int) -> bytes:
        size = 8 * self.places
        raw = os.pread(self._file, size * count, size * (first - self._first_row))
        if len(raw) < size * count:
            raise DamagedVersion("a version", "a file of records ends before its last one")
        return raw

    def __del__(self) -> None:
        os.close(self._file)


def open_pairs(folder: Path, first_row: dict[str, int]) -> dict[tuple[str, str], CachedPair]:
    """The pairs of a version; `first_row` says where the rows of each type begin."""
    return {
        (pair["source_type"], pair["target_type"]): CachedPair(
            pair["asked"],
            pair["k"],
            first_row[pair["source_type"]],
            os.open(folder / record_file(number), os.O_RDONLY),
        )
        for number, pair in enumerate(json.loads((folder / PAIRS).read_text()))
    }
