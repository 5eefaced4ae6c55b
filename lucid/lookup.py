"""Answers: recommendations of a published version, looked up or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor the catalog nor torch. A `Shelf` keeps the versions in use open; each is attached
read-only under a name of its own to one DuckDB instance, and let go when the last answer from it is finished.
"""

import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np

from lucid.artifact import (
    RECOMMENDATIONS,
    Model,
    find_version,
    live_version,
    read_config,
    read_model,
    version_folder,
)
from lucid.errors import UnknownSource
from lucid.interacted import Rows
from lucid.schema import Recommendation, RecommendationQuery
from lucid.scoring import Best

_SOURCES_AT_ONCE = 1024


@dataclass(frozen=True)
class Answer:
    """An answer whose rows come in blocks, each holding whole sources; may be read once."""

    model_id: str
    version: int
    unknown_source_ids: list[str]
    blocks: Iterator[list[Recommendation]]


class Shelf:
    """Opens versions when they are first asked and keeps the live ones open; safe to share between threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._connection = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
        self._versions: dict[str, Version] = {}
        self._opening = threading.Lock()
        self._aliases = itertools.count()

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query from the live version or the one it names.

        Raises UnknownModel, ModelNotReady, UnknownVersion, UnknownType, and UnknownSource for a single unknown
        source; unknown ones in a list are reported in the answer.
        """
        number = find_version(self._home, query.model_id, query.version)
        if query.version is not None and number != live_version(self._home, query.model_id):
            return self._open(query.model_id, number).recommend(query)
        version = self._versions.get(query.model_id)
        if version is None or version.number != number:
            with self._opening:
                version = self._versions.get(query.model_id)
                if version is None or version.number != number:
                    version = self._versions[query.model_id] = self._open(query.model_id, number)
        return version.recommend(query)

    def _open(self, model_id: str, number: int) -> "Version":
        folder = version_folder(self._home, model_id, number)
        return Version(self._connection.cursor(), f"v{next(self._aliases)}", folder, model_id, number)


class Version:
    """One published version, open for reading."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, alias: str, folder: Path, model_id: str, number: int
    ) -> None:
        self.number = number
        self._model_id = model_id
        self._folder = folder
        self._connection = connection
        self._alias = alias
        path = str(folder / RECOMMENDATIONS).replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS {alias} (READ_ONLY)")
        weakref.finalize(self, connection.execute, f"DETACH {alias}")
        self._config = read_config(folder)
        self._precomputed = {
            (source, target): (pair, count)
            for pair, source, target, count in connection.execute(
                f"SELECT pair, source_type, target_type, max_recommendations FROM {alias}.precomputed"
            ).fetchall()
        }

    # Vectors are only read when something is asked that was not computed ahead.
    @cached_property
    def _model(self) -> Model:
        return read_model(self._folder)

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query about this version; see `Shelf.recommend`."""
        for kind in query.target_type:
            self._config.vocabulary.block(kind)
        if query.source_type:
            sources = np.concatenate([self._config.sources(kind) for kind in dict.fromkeys(query.source_type)])
            return Answer(self._model_id, self.number, [], self._blocks(sources, query))
        asked = list(dict.fromkeys(query.source_id or ()))
        rows = self._rows(asked)
        unknown = [source for source in asked if source not in rows]
        if unknown and len(asked) == 1:
            raise UnknownSource(
                f"entity {asked[0]!r} is not part of version {self.number} of model {self._model_id!r}; "
                "upload it and train again"
            )
        sources = np.array([rows[source] for source in asked if source in rows], dtype=np.int64)
        return Answer(self._model_id, self.number, unknown, self._blocks(sources, query))

    def _rows(self, ids: Sequence[str]) -> dict[str, int]:
        found = self._connection.cursor().execute(
            f"SELECT id, row FROM {self._alias}.ids WHERE id IN (SELECT unnest($ids))",
            {"ids": list(ids)},
        )
        return dict(found.fetchall())

    def _blocks(self, sources: Rows, query: RecommendationQuery) -> Iterator[list[Recommendation]]:
        for start in range(0, len(sources), _SOURCES_AT_ONCE):
            yield self._rank(sources[start : start + _SOURCES_AT_ONCE], query)

    def _rank(self, sources: Rows, query: RecommendationQuery) -> list[Recommendation]:
        """The rows of some sources, in the order in which they were asked."""
        kinds = list(dict.fromkeys(query.target_type))
        numbers = self._config.vocabulary.type_numbers(sources)
        parts = [
            self._best(self._config.vocabulary.types[number], kind, sources[numbers == number], query)
            for number in np.unique(numbers)
            for kind in kinds
        ]
        if not parts:
            return []
        source_rows = np.concatenate([part.source_rows for part in parts])
        target_rows = np.concatenate([part.target_rows for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        known = self._entities(np.unique(np.concatenate([source_rows, target_rows])))
        order_of_ids = np.argsort(np.argsort(np.array([known[row][0] for row in target_rows.tolist()], dtype=object)))
        place = np.argsort(sources)[np.searchsorted(np.sort(sources), source_rows)]
        order = np.lexsort((order_of_ids, -scores, place)) if len(kinds) > 1 else np.lexsort((place,))
        rows: list[Recommendation] = []
        rank, previous = 0, -1
        for at in order.tolist():
            source, target, score = int(source_rows[at]), int(target_rows[at]), float(scores[at])
            rank = rank + 1 if source == previous else 1
            previous = source
            if rank <= query.max_recommendations and score >= query.threshold:
                kind = self._config.vocabulary.type_of(target)
                rows.append(Recommendation(known[source][0], known[target][0], score, rank, kind, known[target][1]))
        return rows

    def _best(self, source_type: str, target_type: str, sources: Rows, query: RecommendationQuery) -> Best:
        pair, count = self._precomputed.get((source_type, target_type), (None, 0))
        targets = self._config.vocabulary.block(target_type)
        enough = count >= min(query.max_recommendations, len(targets))
        if pair is not None and enough and query.exclude_interacted:
            found = (
                self._connection.cursor()
                .execute(
                    f"SELECT source_row, target_row, score FROM {self._alias}.recommendations "
                    "WHERE pair = $pair AND source_row BETWEEN $low AND $high "
                    "AND source_row IN (SELECT unnest($sources)) AND rank <= $count ORDER BY source_row, rank",
                    {
                        "pair": pair,
                        "low": int(sources.min()),
                        "high": int(sources.max()),
                        "sources": sources.tolist(),
                        "count": query.max_recommendations,
                    },
                )
                .fetchnumpy()
            )
            return Best(
                np.asarray(found["source_row"], np.int64),
                np.asarray(found["target_row"], np.int64),
                np.asarray(found["score"], np.float64),
            )
        scorer = self._model.scorer(source_type, target_type)
        return scorer.best(sources, query.max_recommendations, exclude_interacted=query.exclude_interacted)

    def _entities(self, rows: Rows) -> dict[int, tuple[str, str]]:
        """Id and name by row."""
        found = (
            self._connection.cursor()
            .execute(
                f"SELECT row, id, name FROM {self._alias}.entities "
                "WHERE row BETWEEN $low AND $high AND row IN (SELECT unnest($rows))",
                {"low": int(rows.min(initial=0)), "high": int(rows.max(initial=0)), "rows": rows.tolist()},
            )
            .fetchall()
        )
        return {row: (source, name) for row, source, name in found}
