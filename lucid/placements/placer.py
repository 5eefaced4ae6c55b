"""A placement's rules on one version: what may be shown, what it is worth, and in which order it comes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from lucid.graph.adjacency import Neighbours
from lucid.model.by_value import BlendedTargets, ScoredTargets, Valued
from lucid.placements.arrange import Diverse, Explore, Items, Limit, Members, Placed, TooFew, arrange, places_of
from lucid.placements.facts import Facts, expect_times
from lucid.schema.filters import METADATA
from lucid.schema.placements import Boost, Bury, PlacementRules
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


@dataclass(frozen=True)
class _Factor:
    """What the values of some targets (n) are multiplied with, and as what rows say it."""

    name: str
    which: Mask
    factor: float


class Placer:
    """Rules on one version at one moment, which is taken to the minute; `chance` draws what is explored."""

    def __init__(
        self,
        version: Version,
        facts: Facts,
        rules: PlacementRules,
        uploads: Uploads,
        now: datetime,
        chance: np.random.Generator | None = None,
    ) -> None:
        self._version, self._facts, self.rules, self._uploads = version, facts, rules, uploads
        self._now = float(int(now.timestamp()) // 60 * 60)
        self._moment = now.timestamp()
        self._chance = chance
        rows = ((pin.rank, version.index.row(pin.id), pin.name or "pin") for pin in rules.pin)
        self._pins = {row: (rank, name) for rank, row, name in sorted(rows) if row is not None}

    # What may be shown

    def allowed(self, entity_type: str, among: Mask | None = None) -> Mask | None:
        """Which targets of a type (n) may be shown to anybody, of those that a query allows; None for all."""
        masks = [among, self._facts.fulfilling(entity_type, self.rules.target_filter)]
        if self.rules.available:
            masks.append(self._facts.availability(entity_type, self._uploads).at(self._moment))
        found: Mask | None = None
        for mask in masks:
            if mask is not None:
                found = mask if found is None else found & mask
        return found

    def hidden(self, edges: Neighbours, relations: Sequence[str]) -> Rows:
        """Rows, sorted, that are not shown to a source with these edges; what has no time may have been just now.

        Raises OutdatedVersion where the version keeps no times, and they matter.
        """
        found = np.zeros(len(edges.rows), bool)
        times = edges.known_times()
        for rule in self.rules.exclude:
            name = INTERACTION + rule.interaction_type
            did = np.array([relation == name for relation in relations], bool)[edges.relations]
            if rule.days is not None:
                expect_times(self._version)
                did &= ~(times < self._moment - rule.days * _DAY)
            found |= did
        return np.unique(edges.rows[found])

    # What it is worth

    def factors(self, entity_type: str) -> Numbers | None:
        """What the scores of a type's targets (n) are multiplied with; None where nothing is to be."""
        found: Numbers | None = None
        for one in self._factors(entity_type):
            each = np.where(one.which, one.factor, 1.0)
            found = each if found is None else found * each
        fresh = self._fresh(entity_type)
        if fresh is not None:
            found = fresh if found is None else found * fresh
        return found

    def _factors(self, entity_type: str) -> Iterator[_Factor]:
        kinds: dict[str, Sequence[Boost | Bury]] = {"boost": self.rules.boost, "bury": self.rules.bury}
        for kind, rules in kinds.items():
            for number, rule in enumerate(rules):
                which = self._facts.fulfilling(entity_type, rule.when)
                assert which is not None  # a rule has conditions
                yield _Factor(rule.name or f"{kind}.{number}", which, rule.factor)

    def _fresh(self, entity_type: str) -> Numbers | None:
        rule = self.rules.fresh
        if rule is None:
            return None
        if rule.by == "last_interaction":
            dates = self._facts.last_interaction(entity_type, self._uploads)
        elif rule.by == "first_interaction":
            dates = self._facts.first_interaction(entity_type, self._uploads)
        else:
            dates = self._facts.moments(entity_type, rule.by.removeprefix(METADATA))
        ages = np.maximum(self._now - dates, 0) / (rule.half_life_days * _DAY)
        return np.asarray(1 - rule.weight + rule.weight * np.nan_to_num(0.5**ages, nan=0.0))

    # In which order it comes

    def arrange(self, targets: Sequence[tuple[str, Targets]], position: int, rows: int, space: int) -> PlacedRows:
        """The rows of the source at a position, of targets of some types.

        `space` is the decomposition whose vectors tell which targets are alike.
        """
        pinned = self._pinned(targets, position)
        size = max(_SPARE * rows, rows + len(self._pins), _LEAST)
        for rule in (self.rules.diversity, self.rules.explore):
            size = max(size, rule.among + len(self._pins)) if rule else size
        while True:
            best, complete = self._best(targets, position, size)
            try:
                return self._arranged(best, pinned, rows, space)
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

    def _pinned(self, targets: Sequence[tuple[str, Targets]], position: int) -> list[tuple[int, Valued, str]]:
        """Pins of what may be shown to the source: rank, target and name, in the order of ranks."""
        found = []
        for entity_type, scored in targets if self._pins else ():
            of_type = self._version.config.entity_types.rows(entity_type)
            for row, (rank, name) in self._pins.items():
                if row in of_type and (valued := scored.of(position, np.array([row]))).total:
                    found.append((rank, valued, name))
        return sorted(found, key=lambda pin: pin[0])

    def _arranged(self, best: Valued, pinned: Sequence[tuple[int, Valued, str]], rows: int, space: int) -> PlacedRows:
        pin_rows = np.array([int(valued.rows[0]) for _, valued, _ in pinned], np.int64)
        kept = np.flatnonzero(~np.isin(best.rows, pin_rows)) if pinned else slice(None)
        every = np.concatenate([best.rows[kept], pin_rows])
        scores = np.concatenate([best.scores[kept], *(valued.scores for _, valued, _ in pinned)])
        values = np.concatenate([best.values[kept], *(valued.values for _, valued, _ in pinned)])
        count = len(every) - len(pinned)
        targets = best.total - len(pinned)  # they were counted too
        places = places_of([rank for rank, _, _ in pinned], targets)
        pins = {place: count + number for number, place in enumerate(places)}
        items = Items(values, pins, targets - count)
        names = {count + number: name for number, (_, _, name) in enumerate(pinned)}
        placed = arrange(items, rows, self._limits(every), self._diverse(every, space), self._explore(), names)
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
            which = self._facts.fulfilling(types.types[one], self.rules.quotas[number].when)
            assert which is not None  # it has conditions
            of_type = numbers == one
            found[of_type] = which[rows[of_type] - types.starts[one]]
        return found

    def _diverse(self, rows: Rows, space: int) -> Diverse | None:
        rule = self.rules.diversity
        if rule is None:
            return None
        return Diverse(rule.weight, rule.among, rule.name or "diversity", likeness_vectors(self._version, space, rows))

    def _explore(self) -> Explore | None:
        rule = self.rules.explore
        if rule is None:
            return None
        chance = self._chance if self._chance is not None else np.random.default_rng()
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
        fresh = self._fresh(entity_type)
        if fresh is not None and self.rules.fresh is not None:
            yield self.rules.fresh.name or "fresh", fresh > 1 - self.rules.fresh.weight / 2


def likeness_vectors(version: Version, space: int, rows: Rows) -> Floats:
    """Vectors (rows, d) of length 1, or 0 where nothing is known, whose products say how alike entities are.

    They are the leading eigenvectors times their eigenvalues: of two such rows the product counts neighbours that both
    have, weighted as the decomposition weighs edges.
    """
    embedding = version.embeddings[space]
    vectors = embedding.vectors[rows, :_LEADING] * embedding.values[:_LEADING]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), np.float32)
