"""The edges of every entity, with their relation and what each counts; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucid.typing import Floats, Rows


@dataclass(frozen=True)
class Neighbours:
    """What one entity is linked to: rows, numbers of relations, and what each edge counts in each view, (views, E)."""

    rows: Rows
    relations: NDArray[np.int16]
    strengths: Floats

    def joined(self, other: "Neighbours") -> "Neighbours":
        """The edges of both."""
        return Neighbours(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.relations, other.relations]),
            np.concatenate([self.strengths, other.strengths], axis=1),
        )


@dataclass(frozen=True)
class Edges:
    """The edges of the typed graph, either way: those of a row lie at `starts[row]:starts[row + 1]`."""

    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    relations: NDArray[np.int16]
    strengths: Floats
    """(views, 2 E): the weight of the relation, by repeats and age; zero where a view leaves the relation out."""

    @classmethod
    def build(cls, size: int, ends: NDArray[np.int64], relations: NDArray[np.int16], strengths: Floats) -> "Edges":
        """From edges in one direction: `ends` (2, E), `strengths` (views, E)."""
        order = np.argsort(ends.ravel(), kind="stable")
        others = np.concatenate([ends[1], ends[0]])[order]
        starts = np.searchsorted(ends.ravel()[order], np.arange(size + 1))
        twice = order % max(ends.shape[1], 1)
        return cls(starts, others.astype(np.int32), relations[twice], strengths[:, twice])

    def of(self, row: int) -> Neighbours:
        """The edges of one entity."""
        part = slice(self.starts[row], self.starts[row + 1])
        return Neighbours(self.rows[part].astype(np.int64), self.relations[part], self.strengths[:, part])

    def without(self, rows: Rows) -> "Edges":
        """The same without the edges of some entities."""
        size = len(self.starts) - 1
        mine = np.repeat(np.arange(size), np.diff(self.starts))
        kept = ~(np.isin(mine, rows) | np.isin(self.rows, rows))
        starts = np.searchsorted(mine[kept], np.arange(size + 1))
        return Edges(starts, self.rows[kept], self.relations[kept], self.strengths[:, kept])


def nothing(views: Sequence[object]) -> Neighbours:
    """No edges."""
    return Neighbours(np.empty(0, np.int64), np.empty(0, np.int16), np.empty((len(views), 0), np.float32))
