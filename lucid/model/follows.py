"""What follows what: targets that sources came to soon after those that a source came to last; needs no torch.

A relation between the targets of a pair, with a weight and a direction: a Markov chain of items (Rendle et al. 2010)
that looks several places ahead and back, as session-based nearest neighbours do (Ludewig and Jannach 2018).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lucid.graph.sequences import Sequences
from lucid.model.pair_model import FollowsModel, Pair, PairModel
from lucid.typing import Floats, Rows

if TYPE_CHECKING:
    from scipy import sparse

    from lucid.graph.typed_graph import TypedGraph

TimedRows = tuple[Rows, NDArray[np.float64]]
"""Rows in the order of time, oldest first, and their times in Unix seconds."""

MEMORY, DECAY = 10, 0.7
"""How many of a source's latest targets count, and how much less each one before the last; measured on two data
sets."""
_WINDOW = 10
"""Places that a target may stand after another; measured against 1, 3 and 50."""
_AFFORDABLE = 10_000_000
"""Entries that are looked at for each direction, so that the file stays below a few hundred megabytes."""


@dataclass(frozen=True)
class Follows:
    """What follows each target of a pair, and the latest targets of each source.

    What follows target i lies at `starts[i]:starts[i + 1]`: positions (`indices`) and how strongly (`values`). The
    value of i and j sums `1 / d` over the sources that came to j within some places d after i, and `backward / d` over
    those that came to j before i; it is divided by the roots of how many sources came to i, and by a power of how many
    came to j. `latest` (sources, `MEMORY`) are positions of targets, oldest first, -1 for none, `times` Unix seconds.

    The score of a source and a target j sums `DECAY ** k` times the value of its latest but k target and j.
    """

    sources: range
    targets: range
    starts: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    latest: NDArray[np.int32]
    times: NDArray[np.float64]

    def recent(self, row: int) -> TimedRows:
        """The latest targets (rows) of a source, oldest first, and their times."""
        found, times = self.latest[row - self.sources.start], self.times[row - self.sources.start]
        known = found >= 0
        return found[known].astype(np.int64) + self.targets.start, times[known]

    def scores_of(self, recent: Sequence[Rows]) -> NDArray[np.float64]:
        """Scores of all targets (sources, targets) after some rows of any type, oldest first; zero after none."""
        scores = np.zeros((len(recent), len(self.targets)))
        for own, rows in zip(scores, recent, strict=True):
            for weight, row in self._weighted(rows):
                part = slice(self.starts[row], self.starts[row + 1])
                own[self.indices[part]] += weight * self.values[part]
        return scores

    def contributions(self, recent: Rows, targets: Rows) -> dict[int, NDArray[np.float64]]:
        """What each of some recent rows adds to the scores of some targets (rows), by row."""
        found = {}
        for weight, row in self._weighted(recent):
            alone = np.zeros(len(self.targets))
            part = slice(self.starts[row], self.starts[row + 1])
            alone[self.indices[part]] = weight * self.values[part]
            found[row + self.targets.start] = alone[targets - self.targets.start]
        return found

    def _weighted(self, recent: Rows) -> Iterable[tuple[float, int]]:
        """Weights and positions of those of some rows that count, the latest first."""
        own = recent[(recent >= self.targets.start) & (recent < self.targets.stop)][: -MEMORY - 1 : -1]
        return zip((DECAY ** np.arange(len(own))).tolist(), (own - self.targets.start).tolist(), strict=True)

    def without(self, rows: Rows) -> "Follows":
        """A copy without some entities, be they sources or targets."""
        gone = np.zeros(max(self.targets.stop, self.sources.stop), bool)
        gone[rows[rows < len(gone)]] = True
        targets = gone[self.targets.start : self.targets.stop]
        mine = np.repeat(np.arange(len(self.targets)), np.diff(self.starts))
        kept = ~(targets[mine] | targets[self.indices])
        latest, times = self.latest.copy(), self.times.copy()
        forgotten = (latest >= 0) & targets[latest] | gone[self.sources.start : self.sources.stop, None]
        latest[forgotten], times[forgotten] = -1, np.nan
        starts = np.searchsorted(mine[kept], np.arange(len(self.targets) + 1))
        return replace(
            self, starts=starts, indices=self.indices[kept], values=self.values[kept], latest=latest, times=times
        )

    def with_latest(self, later: Mapping[int, TimedRows]) -> "Follows":
        """A copy that knows what some sources (rows) came to since; rows of any type, and their times."""
        latest, times = self.latest.copy(), self.times.copy()
        for row, since in later.items():
            if row in self.sources:
                rows, moments = in_order([self.recent(row), since])
                own = np.flatnonzero((rows >= self.targets.start) & (rows < self.targets.stop))[-MEMORY:]
                place = row - self.sources.start
                latest[place], times[place] = -1, np.nan
                latest[place, MEMORY - len(own) :] = rows[own] - self.targets.start
                times[place, MEMORY - len(own) :] = moments[own]
        return replace(self, latest=latest, times=times)


def in_order(parts: Sequence[TimedRows]) -> TimedRows:
    """Timed rows of several lists in the order of time, each row where it stands last."""
    rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in parts)])
    times = np.concatenate([np.empty(0), *(times for _, times in parts)])
    order = np.argsort(times, kind="stable")
    rows, times = rows[order], times[order]
    _, from_the_end = np.unique(rows[::-1], return_index=True)
    kept = np.sort(len(rows) - 1 - from_the_end)
    return rows[kept], times[kept]


class Transitions:
    """How often each target of a pair came after each other one, before it is known how that is weighed."""

    def __init__(self, sequences: Sequences, sources: range, targets: range) -> None:
        self._sequences, self._sources, self._targets = sequences, sources, targets
        self._counts = np.bincount(sequences.targets, minlength=len(targets)).astype(np.float64)
        self._after = _after(sequences, len(targets))
        self._latest = sequences.latest(MEMORY)

    def weighed(self, model: FollowsModel) -> Follows:
        """What follows what, with a direction and exponent."""
        from scipy import sparse

        found = self._after + model.backward * self._after.T if model.backward else self._after
        own, other = (1 + self._counts) ** -0.5, (1 + self._counts) ** -model.exponent
        found = (sparse.diags_array(own) @ found @ sparse.diags_array(other)).tocsr()
        found.sort_indices()
        return Follows(
            self._sources,
            self._targets,
            found.indptr.astype(np.int64),
            found.indices.astype(np.int32),
            found.data.astype(np.float32),
            *self._latest,
        )


def _after(sequences: Sequences, size: int) -> "sparse.csr_matrix":
    """Sums of `1 / d` over all places where a target (column) stands d places after another (row)."""
    from scipy import sparse

    sources, targets = sequences.sources, sequences.targets
    window = max(1, min(_WINDOW, _AFFORDABLE // max(len(targets), 1)))
    total = sparse.csr_matrix((size, size))
    for distance in range(1, window + 1):
        same = sources[distance:] == sources[:-distance]
        before, after = targets[:-distance][same], targets[distance:][same]
        total += sparse.csr_matrix((np.full(len(before), 1 / distance), (before, after)), shape=(size, size))
    return total


def learn_follows(graph: "TypedGraph", pairs: Iterable[PairModel]) -> dict[Pair, Follows]:
    """What follows what in a graph, for those pairs in whose scores it counts."""
    return {pair.pair: transitions(graph, pair.pair).weighed(pair.follows) for pair in pairs if pair.follows}


def transitions(graph: "TypedGraph", pair: Pair) -> Transitions:
    """How often what follows what in a graph."""
    return Transitions(Sequences.of_pair(graph, pair), *(graph.entity_types.rows(one) for one in pair))
