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
    state = _State(items, [_Quota(limit, members, items) for limit, members in limits], diverse)
    placed = []
    for place in range(min(rows, items.total)):
        state.enter(place)
        pinned = items.pins.get(place)
        if pinned is not None:
            row = Placed(pinned, 1.0, ((names or {}).get(pinned, "pin"),), is_set=True)
        else:
            row = state.choose(explore)
        state.take(row.item, is_pin=pinned is not None)
        placed.append(row)
    return placed


class _Quota:
    """A quota and how many each of its groups has in the window."""

    def __init__(self, limit: Limit, members: Members, items: Items) -> None:
        self.limit, self._members, self._items = limit, members, items
        order = np.argsort(members.items, kind="stable")
        self._owners, self._groups = members.items[order], members.groups[order]
        self.counts: dict[int, int] = {}
        self.full = np.zeros(items.targets, bool)
        self._any_full = False
        self._left = 0

    def groups_of(self, item: int) -> list[int]:
        low, high = np.searchsorted(self._owners, (item, item + 1))
        return [int(group) for group in self._groups[low:high]]

    def enter(self, place: int) -> None:
        """Where a window begins, count what is pinned in it."""
        if place % self.limit.of == 0:
            end = min(place + self.limit.of, self._items.total)
            pinned = [item for at, item in self._items.pins.items() if place <= at < end]
            self.counts, self.full[:], self._any_full = {}, False, False
            self._left, self._size = end - place - len(pinned), end - place
            if self.limit.at_most and self.limit.count == 0:
                self._close(self._members.items)
            for item in pinned:
                self.add(item)

    def add(self, item: int) -> None:
        """Count an item."""
        for group in self.groups_of(item):
            self.counts[group] = self.counts.get(group, 0) + 1
            if self.limit.at_most and self.counts[group] >= self.limit.count:
                self._close(self._members.items[self._members.groups == group])

    def take(self, item: int) -> None:
        """Count an item that was chosen for a place."""
        self._left -= 1
        self.add(item)

    def lacks(self) -> int:
        """How many a window still needs."""
        if self.limit.at_most:
            return 0
        return max(min(self.limit.count, self._size) - self.counts.get(0, 0), 0)

    def allows(self, before: int) -> Mask | None:
        """Which targets may come next (targets), where earlier quotas keep so many places; None for all."""
        if self.limit.at_most:
            return ~self.full if self._any_full else None
        lacks = self.lacks()
        if not lacks or self._left - before > lacks:
            return None
        allowed = np.zeros(self._items.targets, bool)
        allowed[self._members.items[self._members.items < self._items.targets]] = True
        return allowed

    def _close(self, members: Rows) -> None:
        self.full[members[members < self._items.targets]] = True
        self._any_full = True


class _State:
    """What is placed already."""

    def __init__(self, items: Items, quotas: Sequence[_Quota], diverse: Diverse | None) -> None:
        self._items, self._quotas, self._diverse = items, quotas, diverse
        self._free = np.ones(items.targets, bool)
        if diverse:
            self._pool = min(diverse.among, items.targets)
            best = max(float(items.values[: self._pool].max(initial=0)), 1e-300)
            self._relevance = diverse.weight * items.values[: self._pool] / best
            self._likeness: NDArray[np.float32] | None = None

    def enter(self, place: int) -> None:
        for quota in self._quotas:
            quota.enter(place)

    def take(self, item: int, *, is_pin: bool) -> None:
        if not is_pin:
            self._free[item] = False
            for quota in self._quotas:
                quota.take(item)
        if self._diverse:
            vectors = self._diverse.vectors
            alike = vectors[: self._pool] @ vectors[item]
            self._likeness = alike if self._likeness is None else np.maximum(self._likeness, alike)

    def choose(self, explore: Explore | None) -> Placed:
        """What the rules want next."""
        allowed, because = self._allowed()
        first = int(np.argmax(allowed))
        chosen = self._most_relevant(allowed, first)
        if explore is None:
            return Placed(chosen, 1.0, (*because, *self._diversity(chosen, first)))
        drawn_from = np.flatnonzero(allowed[: min(explore.among, self._items.targets)])
        if not len(drawn_from):
            return Placed(chosen, 1.0, (*because, *self._diversity(chosen, first)))
        # Both numbers are drawn for every row, so that rows do not depend on what was drawn for those above.
        drawn, which = explore.chance.random(2)
        each = explore.share / len(drawn_from)
        if drawn < explore.share:
            item = int(drawn_from[int(which * len(drawn_from))])
            return Placed(item, each + (1 - explore.share) * (item == chosen), (explore.name,), is_set=True)
        propensity = 1 - explore.share + each * bool(allowed[chosen] and chosen < explore.among)
        return Placed(chosen, propensity, (*because, *self._diversity(chosen, first)))

    def _allowed(self) -> tuple[Mask, tuple[str, ...]]:
        """Targets (mask) that quotas leave, and the quotas that took out the best one."""
        allowed, because = self._free, []
        reserved: dict[int, int] = {}
        for quota in self._quotas:
            of = quota.limit.of
            found = quota.allows(reserved.get(of, 0))
            reserved[of] = reserved.get(of, 0) + quota.lacks()
            if found is None:
                continue
            narrowed = allowed & found
            if not narrowed.any():
                if self._items.more:
                    raise TooFew
                continue
            if not found[np.argmax(allowed)]:
                because.append(quota.limit.name)
            allowed = narrowed
        if self._items.more and not allowed.any():
            raise TooFew
        return allowed, tuple(because)

    def _most_relevant(self, allowed: Mask, first: int) -> int:
        if not self._diverse or first >= self._pool:
            return first
        relevance = self._relevance
        if self._likeness is not None:
            relevance = relevance - (1 - self._diverse.weight) * self._likeness
        return int(np.argmax(np.where(allowed[: self._pool], relevance, -np.inf)))

    def _diversity(self, chosen: int, first: int) -> tuple[str, ...]:
        return (self._diverse.name,) if self._diverse and chosen != first else ()
