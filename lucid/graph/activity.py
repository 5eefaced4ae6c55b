"""Activity of entities by day, as arrays: what lists that are the same for all are computed from; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.activity import NO_DAY
from lucid.graph.relation_weights import TRIMMED_LEAST, TRIMMED_MOST, TRIMMED_SHARE
from lucid.typing import Rows

_PAUSE = 30
"""Days are apart from those before where nothing happened for so many times as long as is usual; set by hand."""
_FEWEST_DAYS = 3
"""What happened on fewer days than that, apart from all others and rarely, is taken for times that cannot be."""

_Days = NDArray[np.int32]
_Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Daily:
    """Counts by entity and day, flat: rows, days since 1970 (`NO_DAY` for none), how many sources."""

    rows: Rows
    days: _Days
    counts: _Counts

    @classmethod
    def none(cls) -> "Daily":
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64))

    def of(self, rows: range) -> "Daily":
        """The counts of some neighbouring entities, whose rows are counted from the first of them."""
        part = (self.rows >= rows.start) & (self.rows < rows.stop)
        return Daily(self.rows[part] - rows.start, self.days[part], self.counts[part])

    def joined(self, other: "Daily") -> "Daily":
        """The counts of both, those of the same entity and day side by side."""
        if not len(other.rows):
            return self
        return Daily(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.days, other.days]),
            np.concatenate([self.counts, other.counts]),
        )

    def totals(self) -> "Totals":
        return Totals.of(self.days, self.counts)


@dataclass(frozen=True, eq=False)
class Totals:
    """How much there was on each day on which there was anything, over all entities; days rise."""

    days: _Days
    counts: _Counts

    @classmethod
    def of(cls, days: _Days, counts: _Counts) -> "Totals":
        known = days != NO_DAY
        found, which = np.unique(days[known], return_inverse=True)
        return cls(found, np.bincount(which, counts[known], len(found)).astype(np.int64))

    def joined(self, other: "Totals") -> "Totals":
        return Totals.of(np.concatenate([self.days, other.days]), np.concatenate([self.counts, other.counts]))

    @property
    def newest(self) -> int | None:
        """The last day that is believed, from which ages count; None where nothing has a day.

        Days at the end that are apart from all others, few, and hold next to nothing are no end of the data: a handful
        of wrong years, or the day on which somebody filled the gaps. How little that is: see `robust_range`.
        """
        if not len(self.days):
            return None
        steps, everything = np.diff(self.days), int(self.counts.sum())
        pause = _PAUSE * max(1.0, float(np.quantile(steps, 0.9))) if len(steps) else np.inf
        most = min(max(TRIMMED_LEAST, int(TRIMMED_SHARE * everything)), int(TRIMMED_MOST * everything))
        stop, passed = len(self.days), 0
        while True:
            start = int(np.flatnonzero(np.append(True, steps[: stop - 1] > pause))[-1])
            passed += int(self.counts[start:stop].sum())
            if stop - start >= _FEWEST_DAYS or passed > most:
                return int(self.days[stop - 1])
            stop = start


@dataclass(frozen=True)
class Activity:
    """On which days how many sources interacted with each entity: those of a row lie at `starts[row]:starts[row + 1]`.

    See `lucid.data.activity` for what is counted.
    """

    starts: NDArray[np.int64]
    days: _Days
    counts: NDArray[np.int32]
    totals: Totals

    @classmethod
    def build(cls, size: int, rows: Rows, days: _Days, counts: _Counts) -> "Activity":
        """From counts that are sorted by row."""
        starts = np.searchsorted(rows, np.arange(size + 1))
        return cls(starts, days, counts.astype(np.int32), Totals.of(days, counts))

    def of(self, rows: range) -> Daily:
        """The counts of some neighbouring entities, whose rows are counted from the first of them."""
        part = slice(self.starts[rows.start], self.starts[rows.stop])
        own = np.repeat(np.arange(len(rows)), np.diff(self.starts[rows.start : rows.stop + 1]))
        return Daily(own, self.days[part], self.counts[part].astype(np.int64))

    def without(self, rows: Rows) -> "Activity":
        """The same without what some entities have; what they did with others stays in the sums of those."""
        every = self.of(range(len(self.starts) - 1))
        kept = ~np.isin(every.rows, rows)
        return self.build(len(self.starts) - 1, every.rows[kept], every.days[kept], every.counts[kept])

    @cached_property
    def newest(self) -> int | None:
        """See `Totals.newest`."""
        return self.totals.newest

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As it is stored; see `from_arrays`."""
        return {
            "starts": self.starts,
            "days": self.days,
            "counts": self.counts,
            "total.days": self.totals.days,
            "total.counts": self.totals.counts,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Activity":
        totals = Totals(arrays["total.days"], arrays["total.counts"])
        return cls(arrays["starts"], arrays["days"], arrays["counts"], totals)
