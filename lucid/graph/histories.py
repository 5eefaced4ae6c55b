"""Interaction histories: who interacted with whom, over all interaction types and both directions; needs no torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucid.typing import Rows


@dataclass(frozen=True)
class InteractionHistory:
    """What each entity interacted with, either way: the rows `indices[starts[r]:starts[r + 1]]`, sorted."""

    starts: NDArray[np.int64]
    indices: NDArray[np.int32]

    def of(self, row: int) -> Rows:
        """What one row interacted with, of every type, sorted."""
        return self.indices[self.starts[row] : self.starts[row + 1]].astype(np.int64)

    @classmethod
    def none(cls, size: int) -> "InteractionHistory":
        """A history of a graph of some size in which nobody interacted with anybody."""
        return cls(np.zeros(size + 1, np.int64), np.empty(0, np.int32))

    @classmethod
    def from_edges(cls, size: int, sources: Rows, targets: Rows) -> "InteractionHistory":
        """Build from edges in one direction; both directions are entered, each once."""
        return cls._of_keys(size, distinct(np.concatenate([sources * size + targets, targets * size + sources])))

    def without(self, rows: Rows) -> "InteractionHistory":
        """A history without anything from or to some rows."""
        size = len(self.starts) - 1
        sources = np.repeat(np.arange(size, dtype=np.int64), np.diff(self.starts))
        kept = ~(np.isin(sources, rows) | np.isin(self.indices, rows))
        return self._of_keys(size, sources[kept] * size + self.indices[kept])

    def minus(self, other: "InteractionHistory") -> "InteractionHistory":
        """A history without what stands in another one, of the same graph."""
        if not len(other.indices):
            return self
        size = len(self.starts) - 1
        keys, known = (
            np.repeat(np.arange(size, dtype=np.int64), np.diff(one.starts)) * size + one.indices
            for one in (self, other)
        )
        return self._of_keys(size, keys[~are_among(keys, known)])

    @classmethod
    def _of_keys(cls, size: int, keys: Rows) -> "InteractionHistory":
        starts = np.searchsorted(keys, np.arange(size + 1, dtype=np.int64) * size)
        return cls(starts, (keys % size).astype(np.int32))


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different ones of many numbers, sorted: as `np.unique`, whose hash table takes fifty times as long."""
    ordered = np.sort(numbers)
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    return np.compress(is_first, ordered)


def are_among(keys: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some keys are among others, which are sorted."""
    places = np.searchsorted(known, keys)
    return np.asarray(np.append(known, -1)[places] == keys)


def within(rows: Rows, targets: range) -> Rows:
    """Positions within `targets` of those sorted rows that are in it."""
    low, high = np.searchsorted(rows, (targets.start, targets.stop))
    return rows[low:high] - targets.start
