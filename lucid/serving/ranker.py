"""The best targets of sources, read from the precomputed store or, where nothing was computed ahead, scored now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.errors import InvalidRequest
from lucid.model.scorer import Profile, Scorer
from lucid.model.top_n import TopN, top_n, top_n_blended
from lucid.schema.fields import Hidden
from lucid.schema.recommendations import RecommendationQuery, weights_of
from lucid.serving.sources import Source, as_one
from lucid.serving.target_filter import TargetFilter
from lucid.typing import Rows
from lucid.versions.version import Version


@dataclass(frozen=True)
class Blend:
    """Several sources that are asked for as one: with their profiles and weights."""

    sources: Sequence[Source]
    profiles: Sequence[Profile]
    weights: Sequence[float]


@dataclass(frozen=True)
class Ranked:
    """Sources and their best targets; `blend` says what the only source is made of, where it is of several."""

    sources: Sequence[Source]
    best: TopN
    blend: Blend | None = None


class Ranker:
    """Ranks targets of one version."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._target_filter = TargetFilter(version)

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
        return Ranked(sources, self._cut(self._each_type(sources, query), query))

    def _blend(self, sources: Sequence[Source], weights: Sequence[float], query: RecommendationQuery) -> Ranked:
        types = sorted({source.entity_type for source in sources})
        if len(types) > 1:
            raise InvalidRequest(f"sources: all must be of one type; these are of {', '.join(types)}")
        parts, profiles = [], list[Profile]()
        for target_type in _target_types(types[0], query):
            scorer = self._version.scorer(types[0], target_type)
            profiles = [_profile(source, scorer) for source in sources]
            limits = self._limits(target_type, query)
            parts.append(top_n_blended(scorer, profiles, weights, query.max_recommendations, **limits))
        best = self._cut(TopN.join(parts), query)
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

    def _cut(self, best: TopN, query: RecommendationQuery) -> TopN:
        """In the order of sources and scores, as many as are asked for; ties between types are broken by ids."""
        if query.target_type and len(query.target_type) > 1:
            order = np.lexsort((self._order_of_ids(best.target_rows), -best.scores, best.positions))
        else:
            order = np.argsort(best.positions, kind="stable")
        positions, scores = best.positions[order], best.scores[order]
        ranks = np.arange(len(order)) - np.searchsorted(positions, positions)
        order = order[(ranks < query.max_recommendations) & (scores >= query.threshold)]
        return TopN(best.positions[order], best.target_rows[order], best.scores[order])

    def _limits(self, target_type: str, query: RecommendationQuery) -> "_Limits":
        allowed = self._target_filter.allowed(target_type, query.target_filter)
        return {"exclude": query.excluded, "allowed": allowed}

    def _order_of_ids(self, rows: Rows) -> Rows:
        """Where the id of each row stands among them."""
        ids = np.array([orjson.loads(target) for target in self._version.index.ids(rows)], dtype=object)
        return np.argsort(np.argsort(ids))


class _Limits(TypedDict):
    """What a query says of the targets that may be recommended."""

    exclude: Hidden | None
    allowed: NDArray[np.bool_] | None


def _target_types(source_type: str, query: RecommendationQuery) -> Sequence[str]:
    """Types that are recommended to sources of a type."""
    return [source_type] if query.use == "similar" else list(dict.fromkeys(query.target_type or ()))


def _profile(source: Source, scorer: Scorer) -> Profile:
    """A source as the version sees it, or as uploads have changed it."""
    if source.profile is not None:
        return source.profile
    return scorer.profiles(np.array([source.row], np.int64))[0]
