"""Answers of one published version, looked up or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor torch. A version that was removed goes on answering as long as it is open.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.data.conditions import Binder, where
from lucid.errors import DamagedVersion, InvalidRequest, UnknownSource
from lucid.graph.adjacency import nothing
from lucid.graph.entity_index import EntityIndex
from lucid.model.scorer import Best, Profile
from lucid.schema.fields import utc_now
from lucid.schema.filters import ENTITY_FIELDS, Condition
from lucid.schema.recommendations import EXPLANATION, Recommendation, RecommendationQuery, WeightedSource, weights_of
from lucid.schema.training import TrainingRequest
from lucid.serving.attribution import explain, explain_mix
from lucid.serving.rendering import Answer, Block, Column
from lucid.serving.sources import Sources, find_named, find_rows, together
from lucid.store.catalog import Catalog
from lucid.store.machine import connect
from lucid.typing import Rows
from lucid.versions.lifecycle import ENTITIES, TEXTS, VALUES, read_config, read_manifest, read_model, read_origin
from lucid.versions.precomputed import MILLION, UNUSED, open_pairs
from lucid.versions.uploads import NOTHING, Uploads, uploads_since

_SOURCES_AT_ONCE = 32
_RANKS = [b"%d" % rank for rank in range(1, 10_001)]


class OpenVersion:
    """One published version, open for reading, and what was uploaded since it was trained.

    Is opened within `artifact.reading`, which tells what was published from what is damaged.
    """

    def __init__(self, folder: Path, model_id: str, number: int) -> None:
        self.number = number
        self._model_id = model_id
        self._folder = folder
        self._sizes = {folder / name: size for name, size in read_manifest(folder)["files"].items()}
        self._config = read_config(folder)
        self._index = EntityIndex(folder / TEXTS)
        entity_types = self._config.entity_types
        self._cached = open_pairs(folder, {kind: entity_types.rows(kind).start for kind in entity_types.types})
        self._types = [orjson.dumps(kind) for kind in entity_types.types]
        # Files are opened now, as the version may be removed while it answers; mapped, they are not read yet.
        self._model = read_model(folder, self._config)
        self._origin = read_origin(folder)
        self._uploads, self._uploads_stamp = NOTHING, -1
        self._keeping_up = threading.Lock()
        self._allowed = lru_cache(maxsize=64)(self._find_allowed)

    def keep_up(self, home: Path) -> None:
        """Read what was uploaded, changed or deleted since the last time; answers come from what is known meanwhile.

        Raises UnknownModel and FileNotFoundError where the version was removed, Unavailable where the catalog is busy.
        """
        catalog = Catalog(home)
        with self._keeping_up:
            stamp = catalog.batches_stamp()  # taken before they are read, so that no change goes unnoticed
            if stamp == self._uploads_stamp:
                return
            raw = catalog.training(self._model_id, self.number).request
            request = TrainingRequest.model_validate({**raw, "model_id": self._model_id})
            self._uploads = uploads_since(
                home, self._folder, self._config, self._origin, request, self._index, now=utc_now()
            )
            self._uploads_stamp = stamp

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query about this version; see `Shelf.recommend`. Raises DamagedVersion where a file was cut."""
        self._expect_whole_files()
        uploads = self._uploads  # the same for the whole answer
        for kind in query.target_type or ():
            self._config.entity_types.rows(kind)
        columns = (*Recommendation._fields, EXPLANATION) if query.explain else Recommendation._fields
        if query.sources:
            block = self._mixed(query.sources, query, uploads)
            return Answer(self._model_id, self.number, [], iter([block]), columns)
        if query.source_type:
            rows = np.concatenate([self._config.sources(kind) for kind in dict.fromkeys(query.source_type)])
            blocks = (
                self._block(find_rows(part, self._model, self._index, uploads), query, uploads)
                for part in np.split(rows, range(_SOURCES_AT_ONCE, len(rows), _SOURCES_AT_ONCE))
            )
            return Answer(self._model_id, self.number, [], blocks, columns)
        asked = list(dict.fromkeys(query.source_id or ()))
        found = [source for source in asked if self._is_known(source, uploads)]
        unknown = [source for source in asked if not self._is_known(source, uploads)]
        if unknown and len(asked) == 1:
            raise self._unknown(asked[0])
        blocks = (
            self._block(
                find_named(found[start : start + _SOURCES_AT_ONCE], self._model, self._index, uploads), query, uploads
            )
            for start in range(0, len(found), _SOURCES_AT_ONCE)
        )
        return Answer(self._model_id, self.number, unknown, blocks, columns)

    def recommend_quickly(self, query: RecommendationQuery, source_id: str) -> Answer | None:
        """See `Shelf.recommend_quickly`."""
        kinds = query.target_type
        if not kinds or len(kinds) > 1 or not query.is_plain or not self._index.is_whole():
            return None
        source = orjson.dumps(source_id)
        row = self._index.row_of_json(source)
        if row is None or row in self._uploads.by_row:
            return None
        pair = self._config.entity_types.type_of(row), kinds[0]
        if not self._is_cached(*pair, query):
            return None
        targets, scores = self._cached[pair].read_one(row)
        count = len(targets)
        if query.threshold or targets[-1] == UNUSED:  # used places come first, and their scores fall
            count = int(np.count_nonzero((targets != UNUSED) & (scores >= query.threshold * MILLION)))
        count = min(count, query.max_recommendations)
        numbers = _numbers(scores[:count] / MILLION), _RANKS[:count]
        columns = self._columns(source, targets[:count].astype(np.int64), *numbers, orjson.dumps(kinds[0]), b'"cache"')
        return Answer(self._model_id, self.number, [], iter([Block(columns, count, {"cache": 1})]))

    def _expect_whole_files(self) -> None:
        """Touching what is missing of a mapped file would end the process; see `lucid.store.arrays`."""
        for path, size in self._sizes.items():
            with suppress(FileNotFoundError):  # a version that was removed is whole as long as it is open
                if (found := path.stat().st_size) < size:
                    raise DamagedVersion(f"version {self.number}", f"{path.name}: {found:,} bytes instead of {size:,}")

    # Sources

    def _is_known(self, source: str, uploads: Uploads) -> bool:
        return self._index.row(source) is not None or source in uploads.new

    def _unknown(self, source: str) -> UnknownSource:
        return UnknownSource(
            f"entity {source[:100]!r} is not part of version {self.number} of model {self._model_id!r}, "
            "nor was it uploaded since; upload it, and train again if its type is new"
        )

    # Answers

    def _block(self, sources: Sources, query: RecommendationQuery, uploads: Uploads) -> Block:
        """The rows of some sources, in the order in which they were asked."""
        parts: list[Best] = []
        for number in np.unique(sources.types).tolist():
            for kind in self._targets(number, query):
                parts += self._best(sources, number, kind, query)
        best = Best.join(parts)
        if query.target_type and len(query.target_type) > 1:
            order = np.lexsort((self._places_of_ids(best.target_rows), -best.scores, best.lines))
        else:
            order = np.argsort(best.lines, kind="stable")
        lines, targets, scores = best.lines[order], best.target_rows[order], best.scores[order]
        ranks = np.arange(1, len(lines) + 1) - np.searchsorted(lines, lines)
        kept = (ranks <= query.max_recommendations) & (scores >= query.threshold)
        lines, targets, scores, ranks = lines[kept], targets[kept], scores[kept], ranks[kept]
        served_by: Column = b'"cache"'
        if any(how != "cache" for how in sources.served_by):
            served_by = [b'"%b"' % sources.served_by[line].encode() for line in lines.tolist()]
        source_ids = [sources.ids[line] for line in lines.tolist()]
        numbers = _numbers(scores), _numbers(ranks)
        columns = self._columns(source_ids, targets, *numbers, self._type_names(targets), served_by)
        if query.explain:
            columns[EXPLANATION] = self._explained(sources, lines, targets, uploads)
        return Block(columns, len(lines), Counter(sources.served_by))

    def _targets(self, source_type: int, query: RecommendationQuery) -> Sequence[str]:
        """Types that are recommended to sources of a type."""
        if query.use == "similar":
            return [self._config.entity_types.types[source_type]]
        return list(dict.fromkeys(query.target_type or ()))

    def _best(self, sources: Sources, source_type: int, kind: str, query: RecommendationQuery) -> Iterator[Best]:
        """The best targets of a type for the sources of a type: those that uploads have changed, then the others."""
        changed, others = sources.of_type(source_type)
        pair = self._config.entity_types.types[source_type], kind
        if len(others) and self._is_cached(*pair, query):
            found = self._read(pair, sources.rows[others], query.max_recommendations)
            yield Best(others[found.lines], found.target_rows, found.scores)
            others = others[:0]
        scored = np.concatenate([changed, others])
        if len(scored):
            scorer = self._model.scorer(*pair)
            profiles = [sources.profiles[line] for line in changed.tolist()] + scorer.profiles(sources.rows[others])
            found = scorer.best_for(
                profiles,
                query.max_recommendations,
                exclude_interacted=query.exclude_interacted,
                allowed=self._may_be(kind, query),
            )
            yield Best(scored[found.lines], found.target_rows, found.scores)

    def _mixed(self, asked: Sequence[WeightedSource], query: RecommendationQuery, uploads: Uploads) -> Block:
        """The rows for several sources as one; their `source_id` is made of all ids."""
        weights = weights_of(asked)
        for source_id in weights:
            if not self._is_known(source_id, uploads):
                raise self._unknown(source_id)
        sources = find_named(list(weights), self._model, self._index, uploads)
        if len(set(sources.types.tolist())) > 1:
            kinds = sorted({self._config.entity_types.types[number] for number in sources.types.tolist()})
            raise InvalidRequest(f"sources: all must be of one type; these are of {', '.join(kinds)}")
        source_type = int(sources.types[0])
        parts: list[Best] = []
        profiles: list[Profile] = []
        for kind in self._targets(source_type, query):
            scorer = self._model.scorer(self._config.entity_types.types[source_type], kind)
            profiles = [
                sources.profiles[line] if line in sources.profiles else scorer.profiles(np.array([row]))[0]
                for line, row in enumerate(sources.rows.tolist())
            ]
            parts.append(
                scorer.best_of_mix(
                    profiles,
                    list(weights.values()),
                    query.max_recommendations,
                    exclude_interacted=query.exclude_interacted,
                    allowed=self._may_be(kind, query),
                )
            )
        best = Best.join(parts)
        order = np.lexsort((self._places_of_ids(best.target_rows), -best.scores))[: query.max_recommendations]
        order = order[best.scores[order] >= query.threshold]
        targets = best.target_rows[order]
        served_by = together(sources.served_by)
        numbers = _numbers(best.scores[order]), _RANKS[: len(order)]
        mix, types = orjson.dumps(" + ".join(weights)), self._type_names(targets)
        columns = self._columns(mix, targets, *numbers, types, b'"%b"' % served_by.encode())
        if query.explain:
            columns[EXPLANATION] = explain_mix(
                self._model, self._index, sources.ids, source_type, profiles, list(weights.values()), targets
            )
        return Block(columns, len(order), {served_by: 1})

    def _columns(
        self, source_ids: Column, targets: Rows, scores: Column, ranks: Column, kinds: Column, served_by: Column
    ) -> dict[str, Column]:
        target_ids, names = self._index.ids(targets), self._index.names(targets)
        values = (source_ids, target_ids, scores, ranks, kinds, names, served_by)
        return dict(zip(Recommendation._fields, values, strict=True))

    def _places_of_ids(self, rows: Rows) -> Rows:
        """Where the id of each row stands among them, as ties between types are broken by ids."""
        ids = np.array([orjson.loads(target) for target in self._index.ids(rows)], dtype=object)
        return np.argsort(np.argsort(ids))

    def _type_names(self, rows: Rows) -> Column:
        numbers = self._config.entity_types.type_numbers(rows)
        if len(rows) and numbers.min() == numbers.max():
            return self._types[int(numbers[0])]
        return [self._types[number] for number in numbers.tolist()]

    def _explained(self, sources: Sources, lines: Rows, targets: Rows, uploads: Uploads) -> list[bytes]:
        """What carried each row, as JSON."""
        found: list[bytes] = []
        for line in dict.fromkeys(lines.tolist()):
            row, source_type = int(sources.rows[line]), self._config.entity_types.types[int(sources.types[line])]
            edges = self._model.edges.of(row) if row >= 0 else nothing(self._model.views)
            new = uploads.every.get(row) if row >= 0 else uploads.by_id.get(orjson.loads(sources.ids[line]))
            relations = uploads.relations or self._origin.relations
            if new is not None:
                edges = edges.joined(new)
            found += explain(self._model, self._index, source_type, edges, relations, targets[lines == line])
        return found

    # What was computed ahead

    def _is_cached(self, source_type: str, target_type: str, query: RecommendationQuery) -> bool:
        pair = self._cached.get((source_type, target_type))
        if pair is None or not query.exclude_interacted or query.target_filter:
            return False
        return pair.asked >= min(query.max_recommendations, len(self._config.entity_types.rows(target_type)))

    def _read(self, kinds: tuple[str, str], rows: Rows, count: int) -> Best:
        pair = self._cached[kinds]
        if (np.diff(rows) == 1).all():  # one read for all of them
            found = pair.read(int(rows[0]), len(rows))
        else:
            found = np.concatenate([pair.read(row, 1) for row in rows.tolist()])
        targets, scores = found[:, 0, :count], found[:, 1, :count]
        used = targets != UNUSED
        return Best(np.nonzero(used)[0], targets[used].astype(np.int64), scores[used] / MILLION)

    # Filters

    def _may_be(self, kind: str, query: RecommendationQuery) -> NDArray[np.bool_] | None:
        """Which entities of a type may be recommended; None where no filter asks."""
        if not query.target_filter:
            return None
        return self._allowed(kind, orjson.dumps([condition.model_dump() for condition in query.target_filter]))

    def _find_allowed(self, kind: str, filters: bytes) -> NDArray[np.bool_]:
        """Which entities of a type fulfil conditions, given as JSON, by what the version was trained with."""
        block = self._config.entity_types.rows(kind)
        allowed = np.zeros(len(block), bool)
        bind = Binder()
        conditions = [Condition.model_validate(condition) for condition in orjson.loads(filters)]
        with connect(config={"threads": 2}) as connection:
            connection.read_parquet(str(self._folder / ENTITIES)).create_view("entities")
            connection.read_parquet(str(self._folder / VALUES)).create_view("entity_values")
            held = where(conditions, {name: name for name in ENTITY_FIELDS}, "row", "entity_values", bind)
            found = connection.execute(
                f"SELECT row FROM entities WHERE row BETWEEN $first AND $last AND ({held})",
                {**bind.values, "first": block.start, "last": block.stop - 1},
            ).fetchnumpy()
        allowed[np.asarray(found["row"]) - block.start] = True
        return allowed


def _numbers(values: NDArray[np.int64] | NDArray[np.float64]) -> list[bytes]:
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(values) else []
