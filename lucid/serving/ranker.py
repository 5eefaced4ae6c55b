"""The best targets of sources, read from the precomputed store or, where nothing was computed ahead, scored now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from lucid.errors import InvalidRequest
from lucid.graph.histories import within
from lucid.model.by_value import BlendedTargets, ScoredTargets
from lucid.model.scorer import Profile, Scorer
from lucid.model.top_n import TopN, blended_raw, top_n, top_n_blended
from lucid.placements.facts import Facts
from lucid.placements.placer import PlacedRows, Placer
from lucid.placements.precomputed import checksum_of, excluded, open_placements
from lucid.schema.fields import Hidden
from lucid.schema.placements import Placement
from lucid.schema.recommendations import RecommendationQuery, weights_of
from lucid.serving.sources import Source, as_one, edges_of
from lucid.typing import Rows
from lucid.versions.target_filter import TargetFilter
from lucid.versions.version import Version


@dataclass(frozen=True)
class Blend:
    """Several sources that are asked for as one: with their profiles and weights."""

    sources: Sequence[Source]
    profiles: Sequence[Profile]
    weights: Sequence[float]


@dataclass(frozen=True)
class Ranked:
    """Sources and their best targets; `blend` says what the only source is made of, where it is of several.

    `placed` says how a placement came to these rows, where one was asked for. `probabilities` (one for each
    target) are there where no model has ranked.
    """

    sources: Sequence[Source]
    best: TopN
    blend: Blend | None = None
    placed: PlacedRows | None = None
    probabilities: NDArray[np.float64] | None = None


class Ranker:
    """Ranks targets of one version, among those that a filter lets pass."""

    def __init__(self, version: Version, target_filter: TargetFilter) -> None:
        self._version, self._target_filter = version, target_filter
        self.facts = Facts(version, target_filter)
        self._placements = open_placements(version)

    def is_precomputed(self, source_type: str, target_type: str, query: RecommendationQuery) -> bool:
        """Whether what the query asks of a pair was computed ahead."""
        pair = self._version.precomputed.get((source_type, target_type))
        if pair is None or query.excluded != "all" or query.target_filter:
            return False
        return pair.asked >= min(query.max_recommendations, len(self._version.config.entity_types.rows(target_type)))

    def rank(self, sources: Sequence[Source], query: RecommendationQuery) -> Ranked:
        """The best targets of each source, in the order of sources and scores, as many as are asked for.

        Raises InvalidRequest where sources of several types are asked for as one.
        """
        if query.sources:
            return self._blend(sources, [*weights_of(query.sources).values()], query)
        return Ranked(sources, cut(self._each_type(sources, query), query, self._version))

    def place(self, sources: Sequence[Source], query: RecommendationQuery, placer: Placer, now: datetime) -> Ranked:
        """The rows of each source as a placement wants them; raises as `rank` does."""
        if query.sources:
            return self._place_blend(sources, [*weights_of(query.sources).values()], query, placer, now)
        rows = self._placed_before(sources, query, placer, now)
        left = [position for position in range(len(sources)) if position not in rows]
        for source_type in dict.fromkeys(sources[position].entity_type for position in left):
            positions = [position for position in left if sources[position].entity_type == source_type]
            of_type = [sources[position] for position in positions]
            hidden = self._hidden(of_type, placer, now)
            targets, space = [], 0
            for number, target_type in enumerate(_target_types(source_type, query)):
                scorer = self._version.scorer(source_type, target_type)
                space = scorer.pair.decomposition if number == 0 else space
                scored = ScoredTargets(
                    scorer,
                    [_profile(source, scorer) for source in of_type],
                    placer.factors(target_type),
                    exclude=query.excluded,
                    allowed=placer.allowed(target_type, now, self._allowed(target_type, query)),
                    hidden=hidden,
                    threshold=query.threshold,
                )
                targets.append((target_type, scored))
            for number, position in enumerate(positions):
                rows[position] = placer.arrange(targets, number, query.max_recommendations, space)
        each = [rows[position] for position in range(len(sources))]
        placed = PlacedRows.join(each)
        counts = [len(one.rows) for one in each]
        return Ranked(sources, TopN(np.repeat(np.arange(len(each)), counts), placed.rows, placed.scores), None, placed)

    def _hidden(self, sources: Sequence[Source], placer: Placer, now: datetime) -> list[Rows]:
        """Rows that a placement does not show to each of some sources; none at all where it has no such rule."""
        if not placer.rules.exclude:
            return []
        uploads = placer.uploads
        edges = (edges_of(source, self._version, uploads) for source in sources)
        return [placer.hidden(each, uploads.relations, now) for each in edges]

    def _placed_before(
        self, sources: Sequence[Source], query: RecommendationQuery, placer: Placer, now: datetime
    ) -> dict[int, PlacedRows]:
        """The rows of sources, by their positions, that were computed ahead and of which nothing has changed."""
        rules, found = placer.rules, dict[int, PlacedRows]()
        if not self._placements or not isinstance(rules, Placement) or query.target_filter or query.threshold:
            return found
        for source_type in {source.entity_type for source in sources}:
            types = _target_types(source_type, query)
            stored = self._placements.get((rules.reference, source_type, types[0])) if len(types) == 1 else None
            if stored is None or query.excluded != excluded(rules):
                continue
            enough = stored.asked >= min(
                query.max_recommendations, len(self._version.config.entity_types.rows(types[0]))
            )
            if not enough or stored.allowed != checksum_of(placer.allowed(types[0], now)):
                continue
            for position, source in enumerate(sources):
                if source.row is None or source.entity_type != source_type or source.profile is not None:
                    continue
                if not (rules.exclude and source.row in placer.uploads.every):
                    found[position] = stored.rows(source.row, query.max_recommendations)
        return found

    def _place_blend(
        self,
        sources: Sequence[Source],
        weights: Sequence[float],
        query: RecommendationQuery,
        placer: Placer,
        now: datetime,
    ) -> Ranked:
        source_type = _one_type(sources)
        hidden = self._hidden(sources, placer, now)
        targets, profiles, space = [], list[Profile](), 0
        for number, target_type in enumerate(_target_types(source_type, query)):
            scorer = self._version.scorer(source_type, target_type)
            space = scorer.pair.decomposition if number == 0 else space
            profiles = [_profile(source, scorer) for source in sources]
            allowed = placer.allowed(target_type, now, self._allowed(target_type, query))
            raw = blended_raw(scorer, profiles, weights, exclude=query.excluded, allowed=allowed)
            for rows, weight in zip(hidden, weights, strict=bool(hidden)):
                if weight > 0:
                    raw[within(rows, scorer.targets)] = -np.inf
            factors = placer.factors(target_type)
            targets.append((target_type, BlendedTargets(scorer, raw, factors, threshold=query.threshold)))
        placed = placer.arrange(targets, 0, query.max_recommendations, space)
        best = TopN(np.zeros(len(placed.rows), np.int64), placed.rows, placed.scores)
        return Ranked([as_one(sources)], best, Blend(sources, profiles, weights), placed)

    def _blend(self, sources: Sequence[Source], weights: Sequence[float], query: RecommendationQuery) -> Ranked:
        source_type = _one_type(sources)
        parts, profiles = [], list[Profile]()
        for target_type in _target_types(source_type, query):
            scorer = self._version.scorer(source_type, target_type)
            profiles = [_profile(source, scorer) for source in sources]
            limits = self._limits(target_type, query)
            parts.append(top_n_blended(scorer, profiles, weights, query.max_recommendations, **limits))
        best = cut(TopN.join(parts), query, self._version)
        return Ranked([as_one(sources)], best, Blend(sources, profiles, weights))

    def _each_type(self, sources: Sequence[Source], query: RecommendationQuery) -> TopN:
        """The best targets of each source and type, those of a source not yet in one order."""
        parts = []
        for source_type in dict.fromkeys(source.entity_type for source in sources):
            positions = [position for position, source in enumerate(sources) if source.entity_type == source_type]
            of_type = [sources[position] for position in positions]
            for target_type in _target_types(source_type, query):
                for chosen, best in self._top_n(of_type, source_type, target_type, query):
                    parts.append(TopN(np.array(positions)[chosen][best.positions], best.target_rows, best.scores))
        return TopN.join(parts)

    def _top_n(
        self, sources: Sequence[Source], source_type: str, target_type: str, query: RecommendationQuery
    ) -> Iterator[tuple[Rows, TopN]]:
        """The best targets of a type for sources of one type, with the positions of those that they are for."""
        changed = np.array([source.profile is not None for source in sources], bool)
        scored = np.flatnonzero(changed)
        if self.is_precomputed(source_type, target_type, query):
            if not changed.all():
                others = np.flatnonzero(~changed)
                rows = np.array([sources[position].row for position in others.tolist()], np.int64)
                pair = self._version.precomputed[source_type, target_type]
                yield others, pair.top_n(rows, query.max_recommendations)
        else:
            scored = np.arange(len(sources))
        if len(scored):
            scorer = self._version.scorer(source_type, target_type)
            profiles = [_profile(sources[position], scorer) for position in scored.tolist()]
            yield scored, top_n(scorer, profiles, query.max_recommendations, **self._limits(target_type, query))

    def _limits(self, target_type: str, query: RecommendationQuery) -> "_Limits":
        return {"exclude": query.excluded, "allowed": self._allowed(target_type, query)}

    def _allowed(self, target_type: str, query: RecommendationQuery) -> NDArray[np.bool_] | None:
        return self._target_filter.allowed(target_type, query.target_filter)


class _Limits(TypedDict):
    """What a query says of the targets that may be recommended."""

    exclude: Hidden | None
    allowed: NDArray[np.bool_] | None


def cut(best: TopN, query: RecommendationQuery, version: Version) -> TopN:
    """In the order of sources and scores, as many as are asked for; ties between types are broken by ids."""
    order = order_of(best, query, version)
    return TopN(best.positions[order], best.target_rows[order], best.scores[order])


def order_of(best: TopN, query: RecommendationQuery, version: Version) -> Rows:
    """Positions of what is answered, in the order of sources and scores, as many as are asked for."""
    if query.target_type and len(query.target_type) > 1:
        order = np.lexsort((version.index.order_of(best.target_rows), -best.scores, best.positions))
    else:
        order = np.argsort(best.positions, kind="stable")
    positions, scores = best.positions[order], best.scores[order]
    ranks = np.arange(len(order)) - np.searchsorted(positions, positions)
    return order[(ranks < query.max_recommendations) & (scores >= query.threshold)]


def _one_type(sources: Sequence[Source]) -> str:
    """The type of sources that are asked for as one; raises InvalidRequest where they are of several."""
    types = sorted({source.entity_type for source in sources})
    if len(types) > 1:
        raise InvalidRequest(f"sources: all must be of one type; these are of {', '.join(types)}")
    return types[0]


def _target_types(source_type: str, query: RecommendationQuery) -> Sequence[str]:
    """Types that are recommended to sources of a type."""
    return [source_type] if query.use == "similar" else list(dict.fromkeys(query.target_type or ()))


def _profile(source: Source, scorer: Scorer) -> Profile:
    """A source as the version sees it, or as uploads have changed it."""
    if source.profile is not None:
        return source.profile
    return scorer.profiles(np.array([source.row], np.int64))[0]
