"""Sequences: what each source of a pair came to, in the order of time; needs no torch."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lucid.data.strengths import DISLIKED
from lucid.typing import Rows

if TYPE_CHECKING:
    from lucid.graph.typed_graph import TypedGraph

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): spreads numbers that are near each other."""


@dataclass(frozen=True)
class Sequences:
    """The timed targets of each source, oldest first: those of source s lie at `starts[s]:starts[s + 1]`.

    Each target stands once, where the source came to it last. `targets` (E) and the sources are counted from the first
    of their types, `times` (E) are Unix seconds. What has no time is left out, and what was disliked.
    """

    starts: NDArray[np.int64]
    targets: Rows
    times: NDArray[np.float64]

    @property
    def sources(self) -> Rows:
        """The source of each entry, (E)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def of(self, source: int) -> Rows:
        """The targets of one source."""
        return self.targets[self.starts[source] : self.starts[source + 1]]

    def ordered_sources(self) -> int:
        """How many sources have at least three targets and three different times, so that these tell an order."""
        sources = self.sources
        is_new = np.ones(len(self.times), bool)
        is_new[1:] = (sources[1:] != sources[:-1]) | (self.times[1:] != self.times[:-1])
        return int((np.bincount(sources[is_new], minlength=len(self.starts) - 1) >= 3).sum())

    def latest(self, count: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The latest targets of each source and their times, (sources, count) each, oldest first.

        Those of sources with fewer stand at the end; before them are a target of -1 and a time of NaN.
        """
        sources = self.sources
        back = self.starts[1:][sources] - np.arange(len(self.targets)) - 1
        kept = back < count
        targets = np.full((len(self.starts) - 1, count), -1, np.int32)
        times = np.full(targets.shape, np.nan)
        places = sources[kept], count - 1 - back[kept]
        targets[places], times[places] = self.targets[kept], self.times[kept]
        return targets, times

    def shuffled(self, rng: np.random.Generator) -> "Sequences":
        """The same targets of each source in an order that tells nothing."""
        order = np.lexsort((rng.random(len(self.targets)), self.sources))
        return replace(self, targets=self.targets[order])

    @classmethod
    def of_pair(cls, graph: "TypedGraph", pair: tuple[str, str]) -> "Sequences":
        """What the interactions of a pair of types say, over all interaction types and both directions."""
        sources, targets = (graph.entity_types.rows(entity_type) for entity_type in pair)
        ends, times = [np.empty((2, 0), np.int64)], [np.empty(0)]
        for source, relation, target in graph.interaction_types:
            if (source, target) not in (pair, pair[::-1]):
                continue
            edge_type = source, relation, target
            rows, time = graph.rows(edge_type).numpy(), graph.data[edge_type].time.numpy()
            counts = ~np.isnan(time)
            if (strengths := graph.strengths(edge_type)) is not None:
                counts &= ~(strengths <= DISLIKED)
            ends.append((rows if (source, target) == pair else rows[::-1])[:, counts])
            times.append(time[counts])
        (first, second), time = np.concatenate(ends, axis=1), np.concatenate(times)
        return cls.of_events(len(sources), first - sources.start, second - targets.start, time)

    @classmethod
    def of_events(cls, count: int, sources: Rows, targets: Rows, times: NDArray[np.float64]) -> "Sequences":
        """Of timed events of some sources, in any order."""
        order = np.lexsort((times, targets, sources))
        first, second, time = sources[order], targets[order], times[order]
        is_last = np.ones(len(order), bool)
        is_last[:-1] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        first, second, time = first[is_last], second[is_last], time[is_last]
        # What happened at the same time has no order: one that differs from source to source adds up to nothing.
        chance = (first.astype(np.uint64) * _MIX ^ second.astype(np.uint64)) * _MIX
        order = np.lexsort((chance, time, first))
        starts = np.searchsorted(first[order], np.arange(count + 1))
        return cls(starts, second[order], time[order])
