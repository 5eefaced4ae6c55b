"""The weighted neighbours of every entity, with the relation of each edge; needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.typing import INTERACTION, Floats, Rows


@dataclass(frozen=True)
class Neighbours:
    """What one entity is linked to: rows (E), numbers of relations (E), and the weight of each edge in each
    decomposition, (decompositions, E).

    `times` are Unix seconds (E) of the latest interaction of each edge, NaN for none; None where no edge has its own.
    """

    rows: Rows
    relations: NDArray[np.int16]
    weights: Floats
    times: NDArray[np.float64] | None = None

    @classmethod
    def none(cls, decompositions: int) -> "Neighbours":
        """The neighbours of an entity of which nothing is known."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int16), np.empty((decompositions, 0), np.float32))

    def part(self, edges: Rows | NDArray[np.bool_] | slice) -> "Neighbours":
        """Some of the edges, by their positions or by a mask (E)."""
        times = None if self.times is None else self.times[edges]
        return Neighbours(self.rows[edges], self.relations[edges], self.weights[:, edges], times)

    def joined(self, other: "Neighbours") -> "Neighbours":
        """The edges of both."""
        return Neighbours(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.relations, other.relations]),
            np.concatenate([self.weights, other.weights], axis=1),
            np.concatenate([self.known_times(), other.known_times()]),
        )

    def known_times(self) -> NDArray[np.float64]:
        """The time of each edge, (E), NaN for none."""
        return np.full(len(self.rows), np.nan) if self.times is None else self.times

    def are_interactions(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Which edges are interactions, (E), given the names of the relations."""
        return np.array([name.startswith(INTERACTION) for name in names], bool)[self.relations]


@dataclass(frozen=True)
class Adjacency:
    """The edges of the typed graph, either way: those of a row lie at `starts[row]:starts[row + 1]`."""

    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    relations: NDArray[np.int16]
    weights: Floats
    """(decompositions, 2 E), as `RelationWeights` has them; zero where a decomposition leaves the relation out."""
    times: NDArray[np.float64] | None = None
    """(2 E), as `Neighbours` has them; None where a release kept none."""

    @classmethod
    def build(
        cls,
        size: int,
        ends: NDArray[np.int64],
        relations: NDArray[np.int16],
        weights: Floats,
        times: NDArray[np.float64] | None = None,
    ) -> "Adjacency":
        """From edges in one direction: `ends` (2, E), `weights` (decompositions, E), `times` (E)."""
        order = np.argsort(ends.ravel(), kind="stable")
        others = np.concatenate([ends[1], ends[0]])[order]
        starts = np.searchsorted(ends.ravel()[order], np.arange(size + 1))
        twice = order % max(ends.shape[1], 1)
        kept = None if times is None else times[twice]
        return cls(starts, others.astype(np.int32), relations[twice], weights[:, twice], kept)

    def of(self, row: int) -> Neighbours:
        """The edges of one entity."""
        part = slice(self.starts[row], self.starts[row + 1])
        times = None if self.times is None else self.times[part]
        return Neighbours(self.rows[part].astype(np.int64), self.relations[part], self.weights[:, part], times)

    def without(self, rows: Rows) -> "Adjacency":
        """An adjacency without the edges of some entities."""
        size = len(self.starts) - 1
        mine = np.repeat(np.arange(size), np.diff(self.starts))
        kept = ~(np.isin(mine, rows) | np.isin(self.rows, rows))
        starts = np.searchsorted(mine[kept], np.arange(size + 1))
        times = None if self.times is None else self.times[kept]
        return Adjacency(starts, self.rows[kept], self.relations[kept], self.weights[:, kept], times)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As it is stored; see `from_arrays`."""
        arrays: dict[str, NDArray[Any]] = {"starts": self.starts, "rows": self.rows, "relations": self.relations}
        arrays["strengths"] = self.weights
        return arrays if self.times is None else {**arrays, "times": self.times}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Adjacency":
        times = arrays.get("times")
        return cls(arrays["starts"], arrays["rows"], arrays["relations"], arrays["strengths"], times)
