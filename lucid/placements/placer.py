"""A placement's rules on one version: what may be shown, what it is worth, and in which order it comes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lucid.graph.adjacency import Neighbours
from lucid.model.by_value import BlendedTargets, ScoredTargets, Valued
from lucid.placements.arrange import Diverse, Explore, Items, Limit, Members, Placed, TooFew, arrange, places_of
from lucid.placements.facts import Facts, expect_times
from lucid.schema.filters import METADATA
from lucid.schema.placements import Boost, Bury, Freshness, PlacementRules
from lucid.typing import INTERACTION, Floats, Rows
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version

_DAY = 86_400.0
_SPARE, _LEAST, _MORE = 2, 50, 8
"""Of how many targets rows are chosen: twice as many as rows and no fewer than 50; where rules need more, eight times
as many, and so on."""
_LEADING = 128
"""Of how many leading eigenpairs likeness is computed: beyond them there is little but noise."""

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Targets = ScoredTargets | BlendedTargets


@dataclass(frozen=True)
class PlacedRows:
    """The rows of one source: rows of the graph, scores, probabilities of being shown there, and who moved them."""

    rows: Rows
    scores: Numbers
    propensities: Numbers
    moved_by: list[tuple[str, ...]]

    def part(self, some: slice) -> "PlacedRows":
        """Some of the rows."""
        return PlacedRows(self.rows[some], self.scores[some], self.propensities[some], self.moved_by[some])

    @classmethod
    def join(cls, parts: Sequence["PlacedRows"]) -> "PlacedRows":
        """Those of several sources, one after the other."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)]),
            np.concatenate([np.empty(0), *(part.scores for part in parts)]),
            np.concatenate([np.empty(0), *(part.propensities for part in parts)]),
            [moved_by for part in parts for moved_by in part.moved_by],
        )


@dataclass(frozen=True, order=True)
class _Pinned:
    """A target that is to stand at a rank."""

    rank: int
    name: str
    row: int
    score: float
    value: float


@dataclass(frozen=True)
class _Factor:
    """What the values of some targets (n) are multiplied with, and as what rows say it."""

    name: str
    which: Mask
    factor: float


def minute_of(now: datetime) -> int:
    """The minute of a moment: how old something is changes no faster."""
    return int(now.timestamp()) // 60


class Placer:
    """Rules on one version with what was uploaded since, within one minute; safe to share between threads.

    What it takes of a version it reads when it is first asked, and keeps.
    """

    def __init__(self, version: Version, facts: Facts, rules: PlacementRules, uploads: Uploads, minute: int) -> None:
        self._version, self._facts, self.rules, self.uploads = version, facts, rules, uploads
        self.minute = minute
        self._filtered = cache(lambda entity_type: facts.fulfilling(entity_type, rules.target_filter))
        self._available = cache(lambda entity_type: facts.availability(entity_type, uploads))
        self._factors = factors = cache(lambda entity_type: list(_factors(facts, rules, entity_type)))
        self._fresh = fresh = cache(lambda entity_type: _fresh(facts, rules.fresh, uploads, 60.0 * minute, entity_type))
        self._counting = cache(lambda entity_type, number: facts.fulfilling(entity_type, rules.quotas[number].when))
        self._all_factors = cache(lambda entity_type: _product(factors(entity_type), fresh(entity_type)))
        rows = ((pin.rank, version.index.row(pin.id), pin.name or "pin") for pin in rules.pin)
        self._pins = {row: (rank, name) for rank, row, name in sorted(rows) if row is not None}

    # What may be shown

    def allowed(self, entity_type: str, now: datetime, among: Mask | None = None) -> Mask | None:
        """Which targets of a type (n) may be shown to anybody now, of those that a query allows; None for all."""
        masks = [among, self._filtered(entity_type)]
        if self.rules.available:
            masks.append(self._available(entity_type).at(now.timestamp()))
        found: Mask | None = None
        for mask in masks:
            if mask is not None:
                found = mask if found is None else found & mask
        return found

    def hidden(self, edges: Neighbours, relations: Sequence[str], now: datetime) -> Rows:
        """Rows, sorted, that are not shown to a source with these edges now; what has no time may have been just now.

        Raises OutdatedVersion where the version keeps no times, and they matter.
        """
        found = np.zeros(len(edges.rows), bool)
        times = edges.known_times()
        for rule in self.rules.exclude:
            name = INTERACTION + rule.interaction_type
            did = np.array([relation == name for relation in relations], bool)[edges.relations]
            if rule.days is not None:
                expect_times(self._version)
                did &= ~(times < now.timestamp() - rule.days * _DAY)
            found |= did
        return np.unique(edges.rows[found])

    # What it is worth

    def factors(self, entity_type: str) -> Numbers | None:
        """What the scores of a type's targets (n) are multiplied with; None where nothing is to be."""
        return self._all_factors(entity_type)

    # In which order it comes

    def arrange(
        self,
        targets: Sequence[tuple[str, Targets]],
        position: int,
        rows: int,
        space: int,
        chance: np.random.Generator | None = None,
    ) -> PlacedRows:
        """The rows of the source at a position, of targets of some types.

        `space` is the decomposition whose vectors tell which targets are alike, `chance` draws what is explored.
        """
        pinned = self._pinned(targets, position)
        size = max(_SPARE * rows, rows + len(self._pins), _LEAST)
        for rule in (self.rules.diversity, self.rules.explore):
            size = max(size, rule.among + len(self._pins)) if rule else size
        while True:
            best, complete = self._best(targets, position, size)
            try:
                return self._arranged(best, pinned, rows, space, chance)
            except TooFew:
                assert not complete
                size *= _MORE

    def _best(self, targets: Sequence[tuple[str, Targets]], position: int, size: int) -> tuple[Valued, bool]:
        """The best of all types as one, and whether these are all."""
        parts = [scored.best(position, size) for _, scored in targets]
        total = sum(part.total for part in parts)
        best = parts[0]
        if len(parts) > 1:
            rows, scores, values = (
                np.concatenate(columns)
                for columns in zip(*((part.rows, part.scores, part.values) for part in parts), strict=True)
            )
            order = np.lexsort((self._version.index.order_of(rows), -values))[:size]
            best = Valued(rows[order], scores[order], values[order], total)
        return best, len(best.rows) == total

    def _pinned(self, targets: Sequence[tuple[str, Targets]], position: int) -> "list[_Pinned]":
        """Pins of what may be shown to the source, in the order of ranks."""
        found = []
        for entity_type, scored in targets if self._pins else ():
            of_type = self._version.config.entity_types.rows(entity_type)
            valued = scored.of(position, np.array([row for row in self._pins if row in of_type], np.int64))
            for row, score, value in zip(valued.rows.tolist(), valued.scores, valued.values, strict=True):
                rank, name = self._pins[row]
                found.append(_Pinned(rank, name, row, score, value))
        return sorted(found)

    def _arranged(
        self,
        best: Valued,
        pinned: Sequence[_Pinned],
        rows: int,
        space: int,
        chance: np.random.Generator | None,
    ) -> PlacedRows:
        pin_rows = np.array([pin.row for pin in pinned], np.int64)
        kept = np.flatnonzero(~np.isin(best.rows, pin_rows)) if pinned else slice(None)
        every = np.concatenate([best.rows[kept], pin_rows])
        scores = np.concatenate([best.scores[kept], [pin.score for pin in pinned]])
        values = np.concatenate([best.values[kept], [pin.value for pin in pinned]])
        count = len(every) - len(pinned)
        targets = best.total - len(pinned)  # they were counted too
        places = places_of([pin.rank for pin in pinned], targets)
        pins = {place: count + number for number, place in enumerate(places)}
        items = Items(values, pins, targets - count)
        names = {count + number: pin.name for number, pin in enumerate(pinned)}
        placed = arrange(items, rows, self._limits(every), self._diverse(every, space), self._explore(chance), names)
        return self._told(placed, every, scores)

    def _limits(self, rows: Rows) -> list[tuple[Limit, Members]]:
        found = []
        for number, quota in enumerate(self.rules.quotas):
            at_most = quota.at_most is not None
            count = quota.at_most if quota.at_most is not None else quota.at_least
            assert count is not None
            limit = Limit(count, quota.of, at_most, quota.name or f"quota.{number}")
            if quota.when is not None:
                items = np.flatnonzero(self._fulfil(rows, number))
                members = Members(items, np.zeros(len(items), np.int64))
            elif quota.each == "type":
                members = Members(np.arange(len(rows)), self._version.config.entity_types.type_numbers(rows))
            else:
                assert quota.each is not None
                members = Members(*self._facts.values(quota.each.removeprefix(METADATA), rows))
            found.append((limit, members))
        return found

    def _fulfil(self, rows: Rows, number: int) -> Mask:
        """Which of some rows fulfil the conditions of a quota."""
        types, found = self._version.config.entity_types, np.zeros(len(rows), bool)
        numbers = types.type_numbers(rows)
        for one in np.unique(numbers).tolist():
            which = self._counting(types.types[one], number)
            assert which is not None  # it has conditions
            of_type = numbers == one
            found[of_type] = which[rows[of_type] - types.starts[one]]
        return found

    def _diverse(self, rows: Rows, space: int) -> Diverse | None:
        rule = self.rules.diversity
        if rule is None:
            return None
        return Diverse(rule.weight, rule.among, rule.name or "diversity", likeness_vectors(self._version, space, rows))

    def _explore(self, chance: np.random.Generator | None) -> Explore | None:
        rule = self.rules.explore
        if rule is None:
            return None
        chance = np.random.default_rng() if chance is None else chance
        return Explore(rule.share, rule.among, rule.name or "explore", chance)

    def _told(self, placed: Sequence[Placed], every: Rows, scores: Numbers) -> PlacedRows:
        items = np.array([row.item for row in placed], np.int64)
        rows = every[items]
        types = self._version.config.entity_types
        numbers = types.type_numbers(rows)
        moved: list[list[str]] = [[] for _ in placed]
        for one in np.unique(numbers).tolist():
            of_type = np.flatnonzero(numbers == one)
            local = rows[of_type] - types.starts[one]
            for name, which in self._movers(types.types[one]):
                for position in of_type[which[local]].tolist():
                    moved[position].append(name)
        return PlacedRows(
            rows,
            scores[items],
            np.array([row.propensity for row in placed], np.float64),
            [row.moved_by if row.is_set else (*names, *row.moved_by) for row, names in zip(placed, moved, strict=True)],
        )

    def _movers(self, entity_type: str) -> Iterator[tuple[str, Mask]]:
        """What changes the value of which targets (n) of a type; freshness where it leaves more than it might take."""
        for one in self._factors(entity_type):
            yield one.name, one.which
        fresh, rule = self._fresh(entity_type), self.rules.fresh
        if fresh is not None and rule is not None:
            yield rule.name or "fresh", fresh > 1 - rule.weight / 2


def _factors(facts: Facts, rules: PlacementRules, entity_type: str) -> Iterator[_Factor]:
    kinds: dict[str, Sequence[Boost | Bury]] = {"boost": rules.boost, "bury": rules.bury}
    for kind, several in kinds.items():
        for number, rule in enumerate(several):
            which = facts.fulfilling(entity_type, rule.when)
            assert which is not None  # a rule has conditions
            yield _Factor(rule.name or f"{kind}.{number}", which, rule.factor)


def _product(factors: Sequence[_Factor], fresh: Numbers | None) -> Numbers | None:
    found = fresh
    for one in factors:
        each = np.where(one.which, one.factor, 1.0)
        found = each if found is None else found * each
    return found


def _fresh(facts: Facts, rule: Freshness | None, uploads: Uploads, now: float, entity_type: str) -> Numbers | None:
    if rule is None:
        return None
    if rule.by == "last_interaction":
        dates = facts.last_interaction(entity_type, uploads)
    elif rule.by == "first_interaction":
        dates = facts.first_interaction(entity_type, uploads)
    else:
        dates = facts.moments(entity_type, rule.by.removeprefix(METADATA))
    ages = np.maximum(now - dates, 0) / (rule.half_life_days * _DAY)
    return np.asarray(1 - rule.weight + rule.weight * np.nan_to_num(0.5**ages, nan=0.0))


def likeness_vectors(version: Version, space: int, rows: Rows) -> Floats:
    """Vectors (rows, d) of length 1, or 0 where nothing is known, whose products say how alike entities are.

    They are the leading eigenvectors times their eigenvalues: of two such rows the product counts neighbours that both
    have, weighted as the decomposition weighs edges.
    """
    embedding = version.embeddings[space]
    vectors = embedding.vectors[rows, :_LEADING] * embedding.values[:_LEADING]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), np.float32)
