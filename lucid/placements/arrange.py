"""The order of the rows of a placement: which rule comes first, and what happens where rules cannot all be kept.

A rule that stands further up wins over those below:

1. What may be shown. The query's own limits (`exclude_interacted`, `threshold`, `target_filter`), the placement's
   `target_filter`, availability and `exclude` hold for every row, pinned ones included.
2. `pin`. A pinned target stands at its rank and nowhere else, so one that is pinned beyond the last row is not shown. A
   pin of what may not be shown is as if it were not there. Where there are fewer targets than ranks, pins move up.
3. `quotas`, in the order in which they are written. Rows 1 to `of` are a window, the next `of` rows another. Pins
   count, those further down in the window too. `at_most`: once the window has as many, others follow. `at_least`: the
   last rows of a window are kept for what it still lacks, as far as earlier quotas with windows of that size leave
   them. A quota that would leave nothing for a row gives way there, so that N rows are N rows.
4. `explore`. With the chance `share` a row is drawn, each of the `among` best targets that quotas allow with the same
   probability.
5. `diversity`. Else the row is, of the `among` best that quotas allow, that with the largest maximal marginal relevance
   (Carbonell & Goldstein 1998): `lambda * value / best value - (1 - lambda) * largest cosine to a row above`.
6. Values. Without diversity, or where none of the `among` best is left, it is the one with the largest value: its score
   times the factors of all `boost`, `bury` and `fresh` rules that it fulfils. Ties stand in the order of ids.

The first N rows are the same however many are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucid.typing import Floats, Rows

Mask = NDArray[np.bool_]


class TooFew(Exception):
    """More targets than were given are needed to tell which one a row is."""


@dataclass(frozen=True)
class Limit:
    """A quota: at most, or else at least, `count` of each `of` rows; `name` is what rows say that it moved."""

    count: int
    of: int
    at_most: bool
    name: str


@dataclass(frozen=True)
class Members:
    """Who counts for a quota: items (K), sorted, and what each counts as (K): itself, or a value that it has."""

    items: Rows
    groups: Rows


@dataclass(frozen=True)
class Diverse:
    """Maximal marginal relevance among the first targets; `vectors` (items, d) have length 1 or 0."""

    weight: float
    among: int
    name: str
    vectors: Floats


@dataclass(frozen=True)
class Explore:
    """A share of rows is drawn among the first targets."""

    share: float
    among: int
    name: str
    chance: np.random.Generator


@dataclass(frozen=True)
class Items:
    """What rows are made of: targets, the best first, and behind them pinned ones.

    `values` (items) are those that targets are ordered by, of which there may be `more` than are given here. `pins`
    are the places, from 0, of the pinned items.
    """

    values: NDArray[np.float64]
    pins: Mapping[int, int]
    more: int = 0

    @property
    def targets(self) -> int:
        """How many items are no pinned ones."""
        return len(self.values) - len(self.pins)

    @property
    def total(self) -> int:
        """How many rows there could be."""
        return len(self.values) + self.more


class Placed(NamedTuple):
    """A row: which item it is, with what probability it is that one, given the rows above, and who moved it.

    A row that was pinned or drawn does not stand there for its value: it `is_set`.
    """

    item: int
    propensity: float
    moved_by: tuple[str, ...]
    is_set: bool = False


def places_of(ranks: Sequence[int], targets: int) -> list[int]:
    """Places, from 0, of pinned targets with some ranks, which rise, beside so many others."""
    places, after = [], targets + len(ranks)
    for rank in reversed(ranks):
        after = min(rank - 1, after - 1)
        places.append(after)
    return places[::-1]


def arrange(
    items: Items,
    rows: int,
    limits: Sequence[tuple[Limit, Members]] = (),
    diverse: Diverse | None = None,
    explore: Explore | None = None,
    names: Mapping[int, str] | None = None,
) -> list[Placed]:
    """The first rows, as the rules want them; `names` are those of pins, by their items.

    Raises TooFew where that depends on targets that are not among the items.
    """
    count = min(rows, items.total)
    state = _State(items, [_Quota(limit, members, items) for limit, members in limits], diverse, explore)
    draws = explore.chance.random((count, 2)).tolist() if explore else [(1.0, 1.0)] * count
    placed = []
    for place in range(count):
        state.enter(place)
        pinned = items.pins.get(place)
        if pinned is not None:
            row = Placed(pinned, 1.0, ((names or {}).get(pinned, "pin"),), is_set=True)
        else:
            row = state.choose(*draws[place])
        state.take(row.item)
        placed.append(row)
    return placed


class _Quota:
    """A quota, and how many of each group the window has."""

    def __init__(self, limit: Limit, members: Members, items: Items) -> None:
        self.limit, self._members, self._items = limit, members, items
        self._groups = members.groups.tolist()
        self._starts = np.searchsorted(members.items, np.arange(len(items.values) + 1)).tolist()
        self.allowed = np.full(items.targets, limit.at_most)
        """Which targets (n) may come next, once the quota is due."""
        if not limit.at_most:
            self.allowed[self._targets(members.items)] = True
        self._counts: dict[int, int] = {}
        self.is_full = False
        """Whether one that is `at_most` allows not all targets."""
        self.lacks = self.left = 0
        """How many the window still needs of one that is `at_least`, and how many of its places are open."""

    def begin(self, place: int) -> None:
        """Begin a window, and count what is pinned in it."""
        end = min(place + self.limit.of, self._items.total)
        pinned = [item for at, item in self._items.pins.items() if place <= at < end]
        self._counts, self.left = {}, end - place - len(pinned)
        if self.limit.at_most:
            self.allowed[:], self.is_full = True, False
            if not self.limit.count:
                self._close(self._members.items)
        else:
            self.lacks = min(self.limit.count, end - place)
        for item in pinned:
            self._count(item)

    def take(self, item: int) -> None:
        """Count an item that was chosen for a place."""
        self.left -= 1
        self._count(item)

    def _count(self, item: int) -> None:
        groups = self._groups[self._starts[item] : self._starts[item + 1]]
        if self.limit.at_most:
            for group in groups:
                self._counts[group] = count = self._counts.get(group, 0) + 1
                if count == self.limit.count:
                    self._close(self._members.items[self._members.groups == group])
        elif groups and self.lacks:
            self.lacks -= 1

    def _close(self, members: Rows) -> None:
        self.allowed[self._targets(members)] = False
        self.is_full = True

    def _targets(self, members: Rows) -> Rows:
        return members[members < self._items.targets]


class _State:
    """What is placed already, and what may come next."""

    def __init__(
        self, items: Items, quotas: Sequence[_Quota], diverse: Diverse | None, explore: Explore | None
    ) -> None:
        self._items, self._quotas, self._explore = items, quotas, explore
        self._is_free = np.ones(items.targets, bool)
        self._relevance = _Relevance(items, diverse) if diverse else None

    def enter(self, place: int) -> None:
        for quota in self._quotas:
            if place % quota.limit.of == 0:
                quota.begin(place)

    def take(self, item: int) -> None:
        """Note what stands in the next row."""
        if item < self._items.targets:
            self._is_free[item] = False
            for quota in self._quotas:
                quota.take(item)
        if self._relevance:
            self._relevance.take(item)

    def choose(self, drawn: float, which: float) -> Placed:
        """What the rules want next; `drawn` and `which` (0-1) tell whether it is drawn, and which one."""
        allowed, first, because = self._narrowed()
        chosen = first
        if self._relevance is not None and first < self._relevance.pool:
            chosen = self._relevance.best(allowed)
            if chosen != first:
                because.append(self._relevance.name)
        propensity, explore = 1.0, self._explore
        if explore:
            drawable = allowed[: explore.among]
            if count := int(np.count_nonzero(drawable)):
                each, rest = explore.share / count, 1 - explore.share
                if drawn < explore.share:
                    item = int(np.flatnonzero(drawable)[int(which * count)])
                    return Placed(item, each + rest * (item == chosen), (explore.name,), is_set=True)
                propensity = rest + each * (chosen < explore.among)
        return Placed(chosen, propensity, tuple(because))

    def _due(self) -> list[_Quota]:
        """Quotas that take out targets of the next row."""
        due, reserved = [], dict[int, int]()
        for quota in self._quotas:
            if quota.limit.at_most:
                if quota.is_full:
                    due.append(quota)
            elif quota.lacks:
                before = reserved.get(quota.limit.of, 0)  # kept by earlier quotas
                if quota.lacks >= quota.left - before:
                    due.append(quota)
                reserved[quota.limit.of] = before + quota.lacks
        return due

    def _narrowed(self) -> tuple[Mask, int, list[str]]:
        """Targets (n) that quotas leave, one after the other, the best of them, and those that took out better ones.

        A quota that would leave none gives way; raises TooFew where there may be one among those that are not given.
        """
        allowed, because = self._is_free, list[str]()
        first = int(allowed.argmax())
        for quota in self._due():
            narrowed = allowed & quota.allowed
            best = int(narrowed.argmax())
            if not narrowed[best]:
                if self._items.more:
                    raise TooFew
                continue
            if best != first:
                because.append(quota.limit.name)
            allowed, first = narrowed, best
        return allowed, first, because


class _Relevance:
    """Maximal marginal relevance of the first targets, the `pool`, as rows are placed."""

    def __init__(self, items: Items, diverse: Diverse) -> None:
        self.name = diverse.name
        self.pool = min(diverse.among, items.targets)
        values = items.values[: self.pool]
        self._by_value = diverse.weight * values / max(float(values.max(initial=0)), 1e-300)
        alike = (1 - diverse.weight) * (diverse.vectors[: self.pool] @ diverse.vectors.T)
        self._alike = np.ascontiguousarray(alike.T)
        self._likeness = np.full(self.pool, -np.inf, alike.dtype)
        self._marginal = self._by_value.copy()

    def take(self, item: int) -> None:
        np.maximum(self._likeness, self._alike[item], out=self._likeness)
        np.subtract(self._by_value, self._likeness, out=self._marginal)

    def best(self, allowed: Mask) -> int:
        """The most relevant of those of the pool that are allowed, of which there is one; of equal ones the first."""
        return int(np.where(allowed[: self.pool], self._marginal, -np.inf).argmax())
