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

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
    """Who counts for a quota: the items (K) and what each of them counts as (K): itself, or a value of its metadata."""

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


@dataclass(frozen=True)
class Placed:
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
    draws = explore.chance.random((count, 2)).tolist() if explore else []
    placed = []
    for place in range(count):
        state.enter(place)
        pinned = items.pins.get(place)
        if pinned is not None:
            row = Placed(pinned, 1.0, ((names or {}).get(pinned, "pin"),), is_set=True)
        elif explore:
            row = state.draw(explore, *draws[place])
        else:
            row = state.choose()
        state.take(row.item)
        placed.append(row)
    return placed


class _Quota:
    """A quota, and how many of each group the window has."""

    def __init__(self, limit: Limit, members: Members, items: Items) -> None:
        self.limit, self._items = limit, items
        self._groups: list[list[int]] = [[] for _ in range(len(items.values))]
        for item, group in zip(members.items.tolist(), members.groups.tolist(), strict=True):
            self._groups[item].append(group)
        self._members, self._full = members, np.zeros(items.targets, bool)
        self._counts: dict[int, int] = {}
        self._left = self._size = 0
        self.lacks = 0
        """How many the window still needs."""

    def enter(self, place: int) -> None:
        """Where a window begins, count what is pinned in it."""
        if place % self.limit.of:
            return
        end = min(place + self.limit.of, self._items.total)
        pinned = [item for at, item in self._items.pins.items() if place <= at < end]
        self._counts, self._left, self._full[:] = {}, end - place - len(pinned), False
        if self.limit.at_most and not self.limit.count:
            self._close(self._members.items)
        self.lacks = 0 if self.limit.at_most else min(self.limit.count, end - place)
        for item in pinned:
            self._count(item)

    def take(self, item: int) -> None:
        """Count an item that was chosen for a place."""
        self._left -= 1
        self._count(item)

    def is_due(self, before: int) -> bool:
        """Whether it may take out targets of the next row, where earlier quotas keep so many places of the window."""
        if self.limit.at_most:
            return not self.limit.count or bool(self._counts)
        return 0 < self.lacks >= self._left - before

    def allows(self, item: int) -> bool:
        """Whether a target may come next, once the quota is due."""
        if not self.limit.at_most:
            return bool(self._groups[item])
        return all(self._counts.get(group, 0) < self.limit.count for group in self._groups[item])

    def all_allowed(self) -> Mask:
        """Which targets (n) may come next, once the quota is due."""
        if self.limit.at_most:
            return ~self._full
        allowed = np.zeros(self._items.targets, bool)
        allowed[self._members.items[self._members.items < self._items.targets]] = True
        return allowed

    def _count(self, item: int) -> None:
        groups = self._groups[item]
        for group in groups:
            self._counts[group] = self._counts.get(group, 0) + 1
            if self.limit.at_most and self._counts[group] == self.limit.count:
                self._close(self._members.items[self._members.groups == group])
        if groups and self.lacks:
            self.lacks -= 1

    def _close(self, members: Rows) -> None:
        self._full[members[members < self._items.targets]] = True


class _State:
    """What is placed already, and what may come next."""

    def __init__(
        self, items: Items, quotas: Sequence[_Quota], diverse: Diverse | None, explore: Explore | None
    ) -> None:
        self._items, self._quotas = items, quotas
        self._free, self._is_free = list(range(items.targets)), np.ones(items.targets, bool)
        self._relevance = _Relevance(items, diverse) if diverse else None
        self._drawable = list(range(min(explore.among, items.targets))) if explore else []

    def enter(self, place: int) -> None:
        for quota in self._quotas:
            quota.enter(place)

    def take(self, item: int) -> None:
        """Note what stands in the next row."""
        if item < self._items.targets:
            self._free.remove(item)
            self._is_free[item] = False
            for quota in self._quotas:
                quota.take(item)
            if self._drawable and item <= self._drawable[-1]:
                self._drawable.remove(item)
        if self._relevance:
            self._relevance.take(item)

    def choose(self) -> Placed:
        """What the rules want next, where nothing is drawn."""
        quotas = self._due()
        found = self._first(quotas)
        if found is None:  # no target is what all quotas want
            allowed, because = self._narrowed(quotas)
            return self._chosen(np.flatnonzero(allowed).tolist(), because)
        first, because = found
        if self._relevance is None or first >= self._relevance.pool:
            return Placed(first, 1.0, because)
        chosen = self._relevance.best(lambda item: all(quota.allows(item) for quota in quotas))
        return Placed(chosen, 1.0, (*because, *self._relevance.moved(chosen, first)))

    def draw(self, explore: Explore, drawn: float, which: float) -> Placed:
        """What the rules want next; `drawn` and `which` (0-1) tell whether it is drawn, and which one."""
        quotas = self._due()
        if quotas:
            mask, because = self._narrowed(quotas)
            allowed = np.flatnonzero(mask).tolist()
            chosen, drawable = self._chosen(allowed, because), allowed[: bisect_left(allowed, explore.among)]
        else:
            chosen, drawable = self._chosen(self._free, ()), self._drawable
        if not drawable:
            return chosen
        each, rest = explore.share / len(drawable), 1 - explore.share
        if drawn < explore.share:
            item = drawable[int(which * len(drawable))]
            return Placed(item, each + rest * (item == chosen.item), (explore.name,), is_set=True)
        return replace(chosen, propensity=rest + each * (chosen.item < explore.among))

    def _due(self) -> list[_Quota]:
        """Quotas that may take out targets of the next row."""
        due, reserved = [], dict[int, int]()
        for quota in self._quotas:
            of = quota.limit.of
            if quota.is_due(reserved.get(of, 0)):
                due.append(quota)
            reserved[of] = reserved.get(of, 0) + quota.lacks
        return due

    def _first(self, quotas: Sequence[_Quota]) -> tuple[int, tuple[str, ...]] | None:
        """The best target that all quotas allow, and those that took out the best ones before it; None for none."""
        because: list[str] = []
        furthest = -1
        for item in self._free:
            passed = next((number for number, quota in enumerate(quotas) if not quota.allows(item)), len(quotas))
            if passed == len(quotas):
                return item, tuple(because)
            if passed > furthest:  # the best one that the quotas before this one leave
                because.append(quotas[passed].limit.name)
                furthest = passed
        return None

    def _narrowed(self, quotas: Sequence[_Quota]) -> tuple[Mask, tuple[str, ...]]:
        """Targets (n) that quotas leave, one after the other, and those that took out the best; one gives way to none.

        Raises TooFew where there may be one among those that are not given.
        """
        allowed, because = self._is_free, []
        for quota in quotas:
            may = quota.all_allowed()
            narrowed = allowed & may
            if not narrowed.any():
                if self._items.more:
                    raise TooFew
                continue
            if not may[allowed.argmax()]:
                because.append(quota.limit.name)
            allowed = narrowed
        return allowed, tuple(because)

    def _chosen(self, allowed: Sequence[int], because: tuple[str, ...]) -> Placed:
        """The one that is wanted of some targets, the best first."""
        first = allowed[0]
        if self._relevance is None or first >= self._relevance.pool:
            return Placed(first, 1.0, because)
        chosen = self._relevance.best_of(allowed[: bisect_left(allowed, self._relevance.pool)])
        return Placed(chosen, 1.0, (*because, *self._relevance.moved(chosen, first)))


class _Relevance:
    """Maximal marginal relevance of the first targets, the `pool`, as rows are placed."""

    def __init__(self, items: Items, diverse: Diverse) -> None:
        self._name, self._vectors = diverse.name, diverse.vectors
        self.pool = min(diverse.among, items.targets)
        values = items.values[: self.pool]
        best = max(float(values.max(initial=0)), 1e-300)
        self._by_value = diverse.weight * values / best
        self._by_likeness = 1 - diverse.weight
        self._alike = self._vectors[: self.pool] @ self._vectors.T
        self._likeness: Floats | None = None
        self._marginal = self._by_value.copy()

    def take(self, item: int) -> None:
        alike = self._alike[:, item]
        self._likeness = alike.copy() if self._likeness is None else np.maximum(self._likeness, alike)
        if item < self.pool:
            self._by_value[item] = -np.inf  # so that it is never the best again
        self._marginal = self._by_value - self._by_likeness * self._likeness

    def best(self, allows: Callable[[int], bool]) -> int:
        """The most relevant of the free ones that are allowed, of which there is one; of equal ones the first."""
        marginal = self._marginal
        while not allows(item := int(marginal.argmax())):
            marginal = marginal.copy() if marginal is self._marginal else marginal
            marginal[item] = -np.inf
        return item

    def best_of(self, targets: Sequence[int]) -> int:
        """The most relevant of some free ones."""
        return targets[int(self._marginal[targets].argmax())]

    def moved(self, chosen: int, first: int) -> tuple[str, ...]:
        """What a row says that is not the first of those allowed."""
        return (self._name,) if chosen != first else ()
