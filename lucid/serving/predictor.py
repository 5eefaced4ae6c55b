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
from lucid.schema.recommendations import EXPLANATION, Recommendation, RecommendationQuery
from lucid.schema.training import TrainingRequest
from lucid.serving.blocks import Blocks
from lucid.serving.ranker import Ranker
from lucid.serving.rendering import Answer, Block
from lucid.serving.sessions import session_source
from lucid.serving.sources import Found, find_sources, held
from lucid.store.catalog import Catalog
from lucid.versions.precomputed import MILLION, UNUSED
from lucid.versions.uploads import Uploads, no_uploads, uploads_since
from lucid.versions.version import Version


class Predictor:
    """Answers queries from one version and what was uploaded since it was trained.

    Is made within `Version.reading`, which tells what was published from what is damaged.
    """

    def __init__(self, version: Version) -> None:
        self.version = version.open()
        self._sizes = {version.folder / name: size for name, size in version.manifest.files.items()}
        self._ranker, self._blocks = Ranker(self.version), Blocks(self.version)
        self._uploads, self._uploads_stamp = no_uploads(version), -1
        self._refreshing = threading.Lock()

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
                self._uploads, self._uploads_stamp = uploads_since(version, request, now=now), stamp

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query; see `ModelRegistry.recommend`. Raises DamagedVersion where a file was cut."""
        self._expect_whole_files()
        for entity_type in query.target_type or ():
            self.version.config.entity_types.rows(entity_type)
        if query.target_filter:
            check_conditions(query.target_filter, self.version.names, "target_filter")
        uploads = self._uploads  # the same for the whole answer
        found = _found(query, self.version, uploads)
        ranked = (self._ranker.rank(sources, query) for sources in found.blocks)
        if query.explain:
            blocks = (self._blocks.explained(each, uploads) for each in ranked)
            return self._answer(blocks, found.unknown, (*Recommendation._fields, EXPLANATION))
        return self._answer(map(self._blocks.ranked, ranked), found.unknown)

    def lookup_precomputed(self, query: RecommendationQuery, source_id: str) -> Answer | None:
        """See `ModelRegistry.lookup_precomputed`."""
        targets, version = query.target_type, self.version
        if not targets or len(targets) > 1 or not query.is_plain or not version.index.is_whole():
            return None
        entity_id = orjson.dumps(source_id)
        row = version.index.row_of_json(entity_id)
        if row is None or row in self._uploads.by_row or row in self._uploads.left_out_by_row:
            return None
        source = held(entity_id, row, version, self._uploads)
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

    def _answer(
        self, blocks: Iterator[Block], unknown: Sequence[str] = (), columns: Sequence[str] = Recommendation._fields
    ) -> Answer:
        return Answer(self.version.model_id, self.version.number, list(unknown), blocks, columns)

    def _expect_whole_files(self) -> None:
        """Touching what is missing of a mapped file would end the process; see `lucid.store.arrays`."""
        for path, size in self._sizes.items():
            with suppress(FileNotFoundError):  # a version that was removed is whole as long as it is open
                if (found := path.stat().st_size) < size:
                    what = f"version {self.version.number}"
                    raise DamagedVersion(what, f"{path.name}: {found:,} bytes instead of {size:,}")


def _found(query: RecommendationQuery, version: Version, uploads: Uploads) -> Found:
    """The sources of a query, or what its session stands for."""
    if not query.session:
        return find_sources(query, version, uploads)
    source, unknown = session_source(query.session, query.target_type or (), version)
    return Found(iter([[source]]), unknown)
