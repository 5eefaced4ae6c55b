"""Lists that are the same for all: what is popular and what is trending, for nobody or for sources that ask for it.

Read from what was computed ahead; for another window or half-life, or where something was uploaded since, computed from
the counts of the version and kept for the next time.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from lucid.errors import OutdatedVersion
from lucid.graph.activity import Daily
from lucid.graph.histories import within
from lucid.model.popularity import STANDINGS, Span, Standing
from lucid.model.scorer import Profile
from lucid.model.top_n import TopN
from lucid.schema.fields import ForAll, Hidden
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.ranker import Ranked, order_of
from lucid.serving.sources import Source
from lucid.typing import Rows
from lucid.versions.standings import LISTED, Standings
from lucid.versions.target_filter import TargetFilter
from lucid.versions.version import Version

_NOTHING = Daily.none()
_KEPT = 16
"""Lists that are kept, each of as many targets as were interacted with."""


class ListsForAll:
    """The lists of one version, among what a filter lets pass."""

    def __init__(self, version: Version, target_filter: TargetFilter) -> None:
        self._version, self._target_filter = version, target_filter
        # Of a function, as one of our own methods would close a circle; see `TargetFilter`.
        self._whole = lru_cache(maxsize=_KEPT)(partial(_whole, version))

    def rank(self, way: ForAll, sources: Sequence[Source], query: RecommendationQuery, since: Daily) -> Ranked:
        """A list for each source, without what is not recommended to it; `since` is what was uploaded since.

        Raises OutdatedVersion where the version is of a release that counted no activity.
        """
        version, parts, shares = self._version, [], []
        hidden = [_hidden(source, version, query.excluded) for source in sources]
        for target_type in dict.fromkeys(query.target_type or ()):
            targets = version.config.entity_types.rows(target_type)
            least = query.max_recommendations + max(map(len, hidden))
            standing = self._standing(way, target_type, query, since, least)
            for position, rows in enumerate(hidden):
                others = standing.part(~np.isin(standing.targets, within(rows, targets)))
                found = others.first(query.max_recommendations)
                positions = np.full(len(found.targets), position, np.int64)
                parts.append(TopN(positions, found.targets.astype(np.int64) + targets.start, found.scores))
                shares.append(found.shares)
        best = TopN.join(parts)
        order = order_of(best, query, version)
        cut = TopN(best.positions[order], best.target_rows[order], best.scores[order])
        return Ranked(sources, cut, probabilities=np.concatenate(shares)[order])

    def ahead(
        self, way: ForAll, target_type: str, query: RecommendationQuery, since: Daily, least: int
    ) -> Standing | None:
        """The first targets of a list, at least so many if there are, as computed ahead; None where they were not."""
        standings = self._version.standings
        if standings is None or query.span != (None, None) or query.target_filter or len(since.rows):
            return None
        found = standings.ahead.get((target_type, way))
        return found.first(least) if found and (len(found.targets) < LISTED or least <= LISTED) else None

    def expect_counted(self) -> None:
        """Raises OutdatedVersion, as `rank` does."""
        _standings(self._version)

    def _standing(
        self, way: ForAll, target_type: str, query: RecommendationQuery, since: Daily, least: int
    ) -> Standing:
        """The first targets that the query allows, at least so many if there are so many."""
        found = self.ahead(way, target_type, query, since, least)
        if found is not None:
            return found
        span = _standings(self._version).spans[target_type, way] if query.span == (None, None) else Span(*query.span)
        standing = self._whole(target_type, way, span, since if len(since.rows) else _NOTHING)
        allowed = self._target_filter.allowed(target_type, query.target_filter)
        return (standing if allowed is None else standing.part(allowed[standing.targets])).first(least)


def _whole(version: Version, target_type: str, way: ForAll, span: Span, since: Daily) -> Standing:
    """A whole list."""
    activity, targets = _standings(version).activity, version.config.entity_types.rows(target_type)
    newest = activity.totals.joined(since.totals()).newest if len(since.rows) else activity.newest
    daily = activity.of(targets).joined(since.of(targets))
    return STANDINGS[way](daily, len(targets), newest, span)


def _standings(version: Version) -> Standings:
    if version.standings is None:
        raise OutdatedVersion(
            f"version {version.number} was made by a release that did not count what is popular and trending; "
            "refresh its recommendations or train the model again"
        )
    return version.standings


def _hidden(source: Source, version: Version, exclude: Hidden | None) -> Rows:
    """Rows, sorted, that are not recommended to a source: its own, and what it interacted with."""
    if source.row is None and source.profile is None:
        return np.empty(0, np.int64)
    profile = source.profile
    if profile is None:
        assert source.row is not None
        row = source.row
        profile = Profile((), version.history.of(row), row, version.left_out.of(row), version.disliked.of(row))
    hidden = profile.hidden(exclude)
    own = np.array([] if source.row is None else [source.row], np.int64)
    return own if hidden is None else np.union1d(hidden, own)
