"""What the figures of a pair are computed from: withheld interactions of test sources, and the lists that they got.

It is kept with the version, so that anybody can compute the figures again, and nothing of an erased entity stays in it.
Needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lucid.graph.histories import are_among
from lucid.model.pair_model import Pair
from lucid.typing import Rows

Lists = NDArray[np.int32]
"""Rows of targets, the best first, (sources, length); -1 where a source got fewer."""
LISTED = 20
"""Recommendations of each source that are kept."""
CALIBRATED = 100
"""Of the model's, for the calibration looks at as many as a query gets where it does not say."""
MODEL, POPULARITY, ITEM_KNN = "model", "popularity", "item_knn"
BASELINES = (POPULARITY, ITEM_KNN)
MILLION = 1_000_000


@dataclass(frozen=True)
class Withheld:
    """Of each of the `sources` (rows), the withheld targets `targets[starts[i]:starts[i + 1]]` (rows)."""

    sources: Rows
    starts: Rows
    targets: Rows

    @property
    def counts(self) -> Rows:
        return np.diff(self.starts)

    def of(self, position: int) -> Rows:
        return self.targets[self.starts[position] : self.starts[position + 1]]

    def hits(self, lists: Lists) -> NDArray[np.bool_]:
        """Which of the recommendations (sources, length) were withheld."""
        return are_among(self._keys(lists), np.sort(self._own_keys())) & (lists >= 0)

    def found(self, lists: Lists) -> NDArray[np.bool_]:
        """Which of the withheld targets were recommended."""
        return are_among(self._own_keys(), np.sort(self._keys(lists)[lists >= 0]))

    def at(self, positions: Rows) -> "Withheld":
        """Those of some of the sources."""
        counts = self.counts[positions]
        targets = [self.of(position) for position in positions.tolist()]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Withheld(self.sources[positions], starts, np.concatenate([*targets, np.empty(0, np.int64)]))

    def without(self, rows: Rows) -> tuple["Withheld", Rows]:
        """Without some entities, and the positions of the sources that are left: those with anything withheld."""
        owners = np.repeat(np.arange(len(self.sources)), self.counts)
        kept = ~np.isin(self.targets, rows) & ~np.isin(self.sources, rows)[owners]
        positions, counts = np.unique(owners[kept], return_counts=True)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Withheld(self.sources[positions], starts, self.targets[kept]), positions

    def _own_keys(self) -> Rows:
        return np.repeat(np.arange(len(self.sources)), self.counts) * _SIZE + self.targets

    def _keys(self, lists: Lists) -> Rows:
        """A number for each position and row; see `_own_keys`."""
        keys: Rows = np.arange(len(lists), dtype=np.int64)[:, None] * _SIZE + lists
        return keys


_SIZE = 1 << 40
"""More than any row."""


@dataclass(frozen=True)
class Cold:
    """Withheld interactions of targets that kept none, and the model's lists among these targets only."""

    withheld: Withheld
    model: Lists


@dataclass(frozen=True)
class Before:
    """What the version that answered before recommends to those sources, by their positions, of which it had seen
    nothing that is withheld now; or why there is nothing to compare."""

    version: int
    sources: int
    reason: str | None = None
    positions: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    lists: Lists = field(default_factory=lambda: np.empty((0, LISTED), np.int32))


@dataclass(frozen=True)
class RecordedPair:
    """Of one pair: what was withheld, and the lists by who made them.

    `known` (sources) counts the interactions that each source has with the target type, `chances` (sources, 100) are
    the probabilities of the model's recommendations in millionths. `rows` are all targets that occur, sorted, and
    `popularity` how many sources interacted with each. `spread` (values, 2) says how many of all targets have which
    popularity. Interactions are those of the train history: nothing withheld is among them.
    """

    source_type: str
    target_type: str
    answered_by: str
    source_count: int
    target_count: int
    withheld: Withheld
    known: Rows
    lists: Mapping[str, Lists]
    chances: NDArray[np.int32]
    rows: Rows
    popularity: Rows
    spread: Rows
    cold: Cold | None = None
    before: Before | None = None

    @property
    def pair(self) -> Pair:
        return self.source_type, self.target_type

    def popularity_of(self, targets: Rows) -> Rows:
        """How many sources interacted with each of some targets that occur."""
        return self.popularity[np.searchsorted(self.rows, targets)]

    def without(self, rows: Rows) -> "RecordedPair | None":
        """Without some entities, of which lists and withheld targets keep no trace; None where no source is left."""
        withheld, positions = self.withheld.without(rows)
        if not len(positions):
            return None
        shortened = {who: _without(lists[positions], rows) for who, lists in self.lists.items()}
        _, chances = _without(self.lists[MODEL][positions], rows, self.chances[positions])
        kept = ~np.isin(self.rows, rows)
        return replace(
            self,
            withheld=withheld,
            known=self.known[positions],
            lists={who: lists for who, (lists, _) in shortened.items()},
            chances=chances,
            rows=self.rows[kept],
            popularity=self.popularity[kept],
            cold=self._cold_without(rows),
            before=self._before_without(rows, positions),
        )

    def _cold_without(self, rows: Rows) -> Cold | None:
        if self.cold is None:
            return None
        withheld, positions = self.cold.withheld.without(rows)
        return Cold(withheld, _without(self.cold.model[positions], rows)[0]) if len(positions) else None

    def _before_without(self, rows: Rows, positions: Rows) -> Before | None:
        if self.before is None or self.before.reason:
            return self.before
        kept = np.isin(self.before.positions, positions)
        lists, _ = _without(self.before.lists[kept], rows)
        moved = np.searchsorted(positions, self.before.positions[kept])
        return replace(self.before, sources=int(kept.sum()), positions=moved, lists=lists)


@dataclass(frozen=True)
class Described:
    """What metadata says of some targets (rows, sorted): the entities `by[starts[i]:starts[i + 1]]` (rows)."""

    rows: Rows
    starts: Rows
    by: Rows

    def without(self, rows: Rows) -> "Described":
        owners = np.repeat(np.arange(len(self.rows)), np.diff(self.starts))
        kept = ~np.isin(self.by, rows) & ~np.isin(self.rows, rows)[owners]
        stay = ~np.isin(self.rows, rows)
        counts = np.bincount(owners[kept], minlength=len(self.rows))[stay]
        return Described(self.rows[stay], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), self.by[kept])


@dataclass(frozen=True)
class Recorded:
    """All pairs that were judged, and what metadata says of the targets in their lists."""

    pairs: list[RecordedPair]
    described: Described

    def without(self, rows: Rows) -> "Recorded":
        """Without some entities."""
        pairs = [pair.without(rows) for pair in self.pairs]
        return Recorded([pair for pair in pairs if pair], self.described.without(rows))


NOTHING_RECORDED = Recorded([], Described(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64)))


def _without(lists: Lists, rows: Rows, beside: NDArray[np.int32] | None = None) -> tuple[Lists, NDArray[np.int32]]:
    """Lists from which some rows are gone, what came after them moved up, and what stands beside them moved alike."""
    gone = np.isin(lists, rows)
    order = np.argsort(gone, axis=1, kind="stable")
    shortened = np.where(gone, np.int32(-1), lists)
    return (
        np.take_along_axis(shortened, order, axis=1),
        np.take_along_axis(lists if beside is None else beside, order, axis=1),
    )
