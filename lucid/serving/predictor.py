"""Answers of one version, looked up in the precomputed store or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor torch. A version that was removed goes on answering as long as it is open.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.errors import DamagedVersion, UnknownSource
from lucid.schema.recommendations import EXPLANATION, Recommendation, RecommendationQuery, weights_of
from lucid.schema.training import TrainingRequest
from lucid.serving.attribution import explain, explain_blend
from lucid.serving.ranker import Ranker
from lucid.serving.rendering import Answer, Block, Column
from lucid.serving.sources import Source, counted, find_named, find_rows, together
from lucid.store.catalog import Catalog
from lucid.typing import Rows
from lucid.versions.precomputed import MILLION, UNUSED
from lucid.versions.uploads import Uploads, no_uploads, uploads_since
from lucid.versions.version import Version

_SOURCES_AT_ONCE = 32
_RANKS = [b"%d" % rank for rank in range(1, 10_001)]


class Predictor:
    """Answers queries from one version and what was uploaded since it was trained.

    Is made within `Version.reading`, which tells what was published from what is damaged.
    """

    def __init__(self, version: Version) -> None:
        self.version = version.open()
        self._types = {name: orjson.dumps(name) for name in version.config.entity_types.types}
        self._sizes = {version.folder / name: size for name, size in version.manifest.files.items()}
        self._ranker = Ranker(self.version)
        self._uploads, self._uploads_stamp = no_uploads(version), -1
        self._refreshing = threading.Lock()

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
        uploads = self._uploads  # the same for the whole answer
        for entity_type in query.target_type or ():
            self.version.config.entity_types.rows(entity_type)
        if query.sources:
            return self._answer(query, [], iter([self._blended(query, uploads)]))
        if query.source_type:
            rows = [self.version.config.sources(entity_type) for entity_type in dict.fromkeys(query.source_type)]
            parts = np.split(np.concatenate(rows), range(_SOURCES_AT_ONCE, sum(map(len, rows)), _SOURCES_AT_ONCE))
            found = (find_rows(part, self.version, uploads) for part in parts)
            return self._answer(query, [], (self._block(sources, query, uploads) for sources in found))
        asked = list(dict.fromkeys(query.source_id or ()))
        known = [name for name in asked if self._is_known(name, uploads)]
        if not known and len(asked) == 1:
            raise self._unknown(asked[0])
        named = (known[start : start + _SOURCES_AT_ONCE] for start in range(0, len(known), _SOURCES_AT_ONCE))
        found = (find_named(names, self.version, uploads) for names in named)
        unknown = [name for name in asked if name not in set(known)]
        return self._answer(query, unknown, (self._block(sources, query, uploads) for sources in found))

    def lookup_precomputed(self, query: RecommendationQuery, source_id: str) -> Answer | None:
        """See `ModelRegistry.lookup_precomputed`."""
        targets, version = query.target_type, self.version
        if not targets or len(targets) > 1 or not query.is_plain or not version.index.is_whole():
            return None
        source = orjson.dumps(source_id)
        row = version.index.row_of_json(source)
        if row is None or row in self._uploads.by_row:
            return None
        pair = version.config.entity_types.type_of(row), targets[0]
        if not self._ranker.is_precomputed(*pair, query):
            return None
        rows, scores = version.precomputed[pair].record(row)
        count = len(rows)
        if query.threshold or rows[-1] == UNUSED:  # used slots come first, and their scores fall
            count = int(np.count_nonzero((rows != UNUSED) & (scores >= query.threshold * MILLION)))
        count = min(count, query.max_recommendations)
        numbers = _numbers(scores[:count] / MILLION), _RANKS[:count]
        columns = self._columns(source, rows[:count].astype(np.int64), *numbers, orjson.dumps(targets[0]), b'"cache"')
        return self._answer(query, [], iter([Block(columns, count, {"cache": 1})]))

    def _answer(self, query: RecommendationQuery, unknown: list[str], blocks: Iterator[Block]) -> Answer:
        columns = (*Recommendation._fields, EXPLANATION) if query.explain else Recommendation._fields
        return Answer(self.version.model_id, self.version.number, unknown, blocks, columns)

    def _expect_whole_files(self) -> None:
        """Touching what is missing of a mapped file would end the process; see `lucid.store.arrays`."""
        for path, size in self._sizes.items():
            with suppress(FileNotFoundError):  # a version that was removed is whole as long as it is open
                if (found := path.stat().st_size) < size:
                    what = f"version {self.version.number}"
                    raise DamagedVersion(what, f"{path.name}: {found:,} bytes instead of {size:,}")

    def _is_known(self, name: str, uploads: Uploads) -> bool:
        return self.version.index.row(name) is not None or name in uploads.new

    def _unknown(self, name: str) -> UnknownSource:
        return UnknownSource(
            f"entity {name[:100]!r} is not part of version {self.version.number} of model {self.version.model_id!r}, "
            "nor was it uploaded since; upload it, and train again if its type is new"
        )

    # Sources apart

    def _block(self, sources: Sequence[Source], query: RecommendationQuery, uploads: Uploads) -> Block:
        """The rows of some sources, in the order in which they were asked."""
        best = self._ranker.rank(sources, query)
        positions = best.positions.tolist()
        ranks = np.arange(1, len(positions) + 1) - np.searchsorted(best.positions, best.positions)
        columns = self._columns(
            [sources[position].id for position in positions],
            best.target_rows,
            _numbers(best.scores),
            _numbers(ranks),
            self._type_names(best.target_rows),
            _served_by(sources, positions),
        )
        if query.explain:
            columns[EXPLANATION] = [
                text
                for position in dict.fromkeys(positions)
                for text in explain(
                    sources[position], best.target_rows[best.positions == position], self.version, uploads
                )
            ]
        return Block(columns, len(positions), counted(sources))

    # Several sources as one

    def _blended(self, query: RecommendationQuery, uploads: Uploads) -> Block:
        """The rows for several sources as one; their `source_id` is made of all ids."""
        weights = weights_of(query.sources or ())
        for name in weights:
            if not self._is_known(name, uploads):
                raise self._unknown(name)
        sources = find_named(list(weights), self.version, uploads)
        best, profiles = self._ranker.blend(sources, [*weights.values()], query)
        targets, served_by = best.target_rows, together(sources)
        columns = self._columns(
            orjson.dumps(" + ".join(weights)),
            targets,
            _numbers(best.scores),
            _RANKS[: len(targets)],
            self._type_names(targets),
            b'"%b"' % served_by.encode(),
        )
        if query.explain:
            columns[EXPLANATION] = explain_blend(sources, profiles, [*weights.values()], targets, self.version)
        return Block(columns, len(targets), {served_by: 1})

    # What both need

    def _columns(
        self, source_ids: Column, targets: Rows, scores: Column, ranks: Column, types: Column, served_by: Column
    ) -> dict[str, Column]:
        index = self.version.index
        values = (source_ids, index.ids(targets), scores, ranks, types, index.names(targets), served_by)
        return dict(zip(Recommendation._fields, values, strict=True))

    def _type_names(self, rows: Rows) -> Column:
        entity_types = self.version.config.entity_types
        numbers = entity_types.type_numbers(rows)
        if len(rows) and numbers.min() == numbers.max():
            return self._types[entity_types.types[numbers[0]]]
        return [self._types[entity_types.types[number]] for number in numbers.tolist()]


def _served_by(sources: Sequence[Source], positions: Sequence[int]) -> Column:
    ways = [b'"%b"' % source.served_by.encode() for source in sources]
    return ways[0] if len(set(ways)) == 1 else [ways[position] for position in positions]


def _numbers(values: NDArray[np.int64] | NDArray[np.float64]) -> list[bytes]:
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(values) else []
