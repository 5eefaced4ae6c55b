"""Answers of one version, looked up in the precomputed store or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor torch. A version that was removed goes on answering as long as it is open.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

import numpy as np
import orjson

from lucid.data.names import check_conditions
from lucid.errors import DamagedVersion
from lucid.placements.placer import Placer, minute_of
from lucid.schema.fields import utc_now
from lucid.schema.placements import UNSAVED, Placement, PlacementRules
from lucid.schema.recommendations import EXPLANATION, PLACED, Recommendation, RecommendationQuery
from lucid.schema.training import TrainingRequest
from lucid.serving.blocks import Blocks
from lucid.serving.for_all import ListsForAll
from lucid.serving.ranker import Ranked, Ranker
from lucid.serving.rendering import Answer, Block
from lucid.serving.sessions import session_source
from lucid.serving.sources import Found, Source, find_sources, held
from lucid.store.catalog import Catalog
from lucid.versions.precomputed import MILLION, UNUSED
from lucid.versions.recent import with_events
from lucid.versions.target_filter import TargetFilter
from lucid.versions.uploads import Uploads, no_uploads, uploads_since
from lucid.versions.version import Version

_PLACERS = 100
"""For how many placements what applies them is kept."""


class Predictor:
    """Answers queries from one version and what was uploaded since it was trained.

    Is made within `Version.reading`, which tells what was published from what is damaged.
    """

    def __init__(self, version: Version) -> None:
        self.version = version.open()
        self._sizes = {version.folder / name: size for name, size in version.manifest.files.items()}
        target_filter = TargetFilter(version)
        self._ranker, self._for_all = Ranker(version, target_filter), ListsForAll(version, target_filter)
        self._blocks = Blocks(version)
        self._uploads, self._uploads_stamp = no_uploads(version), -1
        self._request: TrainingRequest | None = None
        self._refreshing, self._taking_events = threading.Lock(), threading.Lock()
        self._placers: dict[str, Placer] = {}

    @property
    def uploads(self) -> Uploads:
        """What was uploaded since the version was trained, as far as it was read."""
        return self._uploads

    def refresh(self, now: datetime) -> None:
        """Read what was uploaded, changed or deleted since the last time; answers come from what is known meanwhile.

        Raises UnknownModel and FileNotFoundError where the version was removed, Unavailable where the catalog is busy.
        """
        version = self.version
        catalog = Catalog(version.home)
        with self._refreshing:
            stamp = catalog.batches.stamp()  # taken before they are read, so that no change goes unnoticed
            if stamp != self._uploads_stamp:
                raw = catalog.trainings.get(version.model_id, version.number).request
                request = TrainingRequest.model_validate({**raw, "model_id": version.model_id})
                uploads = with_events(version, uploads_since(version, request, now=now), request, now=now)
                with self._taking_events:
                    self._uploads = with_events(version, uploads, request, now=now)
                    self._request, self._uploads_stamp = request, stamp
        self.take_events(now)

    def take_events(self, now: datetime) -> None:
        """Count the events that have come since the last time; raises as `refresh` does, and waits for no catalog."""
        with self._taking_events:
            if self._request is not None:
                self._uploads = with_events(self.version, self._uploads, self._request, now=now)

    def recommend(
        self, query: RecommendationQuery, rules: PlacementRules | None = None, now: datetime | None = None
    ) -> Answer:
        """Answer a query as some rules want it at a moment; see `ModelRegistry.recommend`.

        Raises DamagedVersion where a file was cut.
        """
        self._expect_whole_files()
        for entity_type in query.target_type or ():
            self.version.config.entity_types.rows(entity_type)
        if query.target_filter:
            check_conditions(query.target_filter, self.version.names, "target_filter")
        if query.for_all or query.fallback:
            self._for_all.expect_counted()
        uploads = self._uploads  # the same for the whole answer
        found = _found(query, self.version, uploads)
        columns = (*Recommendation._fields, *(PLACED if rules else ()), *([EXPLANATION] if query.explain else []))
        blocks = self._ranked(found.blocks, query, uploads, rules, now or utc_now())
        return self._answer(blocks, found.unknown, columns, _reference(rules) if rules else None)

    def _ranked(
        self,
        sources: Iterator[list[Source]],
        query: RecommendationQuery,
        uploads: Uploads,
        rules: PlacementRules | None,
        now: datetime,
    ) -> Iterator[Block]:
        placer = self._placer(rules, uploads, now) if rules else None
        if rules and rules.exclude_interacted is not None:
            query = query.model_copy(update={"exclude_interacted": rules.exclude_interacted})
        for some in sources:
            if placer and rules:
                ranked = self._ranker.place(some, query, placer, now)
                block = self._blocks.placed(ranked, _reference(rules))
            else:
                ranked = self._rank(some, query, uploads)
                block = self._blocks.ranked(ranked)
            yield self._blocks.explained(block, ranked, uploads) if query.explain else block

    def _placer(self, rules: PlacementRules, uploads: Uploads, now: datetime) -> Placer:
        """What applies some rules; that of a placement is kept as long as it fits."""
        minute, reference = minute_of(now), _reference(rules)
        kept = self._placers.get(reference)
        if kept and kept.rules is rules and kept.minute == minute and kept.uploads is uploads:
            return kept
        if len(self._placers) >= _PLACERS:
            self._placers.clear()
        made = self._placers[reference] = Placer(self.version, self._ranker.facts, rules, uploads, minute)
        return made

    def lookup_precomputed(self, query: RecommendationQuery, source_id: str | None) -> Answer | None:
        """See `ModelRegistry.lookup_precomputed`."""
        if source_id is None:
            return self._lookup_for_all(query)
        targets, version = query.target_type, self.version
        if not targets or len(targets) > 1 or not query.is_plain or not version.index.is_whole():
            return None
        entity_id = orjson.dumps(source_id)
        row = version.index.row_of_json(entity_id)
        if row is None or row in self._uploads.by_row or row in self._uploads.left_out_by_row:
            return None
        source = held(entity_id, row, version, self._uploads)
        if query.fallback and source.served_by == "popular":
            return None
        pair = source.entity_type, targets[0]
        if not self._ranker.is_precomputed(*pair, query):
            return None
        rows, scores = version.precomputed[pair].record(row)
        count = len(rows)
        if query.threshold or rows[-1] == UNUSED:  # used slots come first, and their scores fall
            count = int(np.count_nonzero((rows != UNUSED) & (scores >= query.threshold * MILLION)))
        count = min(count, query.max_recommendations)
        block = self._blocks.precomputed(source, targets[0], rows[:count].astype(np.int64), scores[:count])
        return self._answer(iter([block]))

    def _lookup_for_all(self, query: RecommendationQuery) -> Answer | None:
        """What was computed ahead for nobody, of one type."""
        uploads, way, targets, least = self._uploads, query.for_all, query.target_type, query.max_recommendations
        if not (way and targets and len(targets) == 1) or query.explain:
            return None
        if self._for_all.ahead(way, targets[0], query, uploads.activity, least) is None:
            return None
        self._expect_whole_files()
        found = find_sources(query, self.version, uploads)
        return self._answer(self._blocks.ranked(self._rank(sources, query, uploads)) for sources in found.blocks)

    def _rank(self, sources: Sequence[Source], query: RecommendationQuery, uploads: Uploads) -> Ranked:
        way = sources[0].for_all if sources else None
        if way:
            return self._for_all.rank(way, sources, query, uploads.activity)
        return self._ranker.rank(sources, query)

    def _answer(
        self,
        blocks: Iterator[Block],
        unknown: Sequence[str] = (),
        columns: Sequence[str] = Recommendation._fields,
        placement: str | None = None,
    ) -> Answer:
        return Answer(self.version.model_id, self.version.number, list(unknown), blocks, columns, placement)

    def _expect_whole_files(self) -> None:
        """Touching what is missing of a mapped file would end the process; see `lucid.store.arrays`."""
        for path, size in self._sizes.items():
            with suppress(FileNotFoundError):  # a version that was removed is whole as long as it is open
                if (found := path.stat().st_size) < size:
                    what = f"version {self.version.number}"
                    raise DamagedVersion(what, f"{path.name}: {found:,} bytes instead of {size:,}")


def _reference(rules: PlacementRules) -> str:
    """What an answer says it follows."""
    return rules.reference if isinstance(rules, Placement) else UNSAVED


def _found(query: RecommendationQuery, version: Version, uploads: Uploads) -> Found:
    """The sources of a query, or what its session stands for."""
    if not query.session:
        return find_sources(query, version, uploads)
    source, unknown = session_source(query.session, query.target_type or (), version)
    return Found(iter([[source]]), unknown)
