"""Answers: recommendations of a published version, looked up or, where nothing was computed ahead, scored at once.

Needs neither Prefect nor the catalog nor torch. A `Shelf` keeps the versions in use open; a version's files are let go
when the last answer from it is finished.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.artifact import (
    LIVE,
    TEXTS,
    Model,
    find_version,
    live_version,
    model_folder,
    read_config,
    read_model,
    version_folder,
)
from lucid.cache import MILLION, UNUSED, open_pairs
from lucid.errors import UnknownSource
from lucid.interacted import Rows
from lucid.rendering import Answer, Block, Column
from lucid.schema import RecommendationQuery
from lucid.scoring import Best
from lucid.texts import Texts

_SOURCES_AT_ONCE = 1024
_RANKS = [b"%d" % rank for rank in range(1, 10_001)]


class Shelf:
    """Opens versions when they are first asked and keeps the live ones open; safe to share between threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._live: dict[str, _Live] = {}
        self._opening = threading.Lock()

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query from the live version or the one it names.

        Raises UnknownModel, ModelNotReady, UnknownVersion, UnknownType, and UnknownSource for a single unknown
        source; unknown ones in a list are reported in the answer.
        """
        return self._version(query).recommend(query)

    def recommend_quickly(self, query: RecommendationQuery) -> Answer | None:
        """The same if the version is open already and all that is asked was computed ahead for one source, else None.

        Takes some microseconds and a read of less than a kilobyte.
        """
        live = self._live.get(query.model_id)
        if live is None or query.version is not None or not live.still():
            return None
        return live.version.recommend_quickly(query)

    def _version(self, query: RecommendationQuery) -> "Version":
        if query.version is not None and query.version != live_version(self._home, query.model_id):
            return self._open(query.model_id, find_version(self._home, query.model_id, query.version))
        live = self._live.get(query.model_id)
        if live is None or not live.still():
            with self._opening:
                live = self._live.get(query.model_id)
                if live is None or not live.still():
                    live = self._live[query.model_id] = self._open_live(query.model_id)
        return live.version

    def _open_live(self, model_id: str) -> "_Live":
        live_version(self._home, model_id)  # raises where there is none
        pointer = model_folder(self._home, model_id) / LIVE
        stamp = _stamp(pointer)  # taken before it is read, so that no change goes unnoticed
        return _Live(str(pointer), stamp, self._open(model_id, live_version(self._home, model_id)))

    def _open(self, model_id: str, number: int) -> "Version":
        return Version(version_folder(self._home, model_id, number), model_id, number)


@dataclass(frozen=True)
class _Live:
    """The version that answers for a model, and the pointer file as it was when it said so."""

    pointer: str
    stamp: tuple[int, int]
    version: "Version"

    def still(self) -> bool:
        """Whether the pointer is the same file."""
        try:
            return _stamp(self.pointer) == self.stamp
        except FileNotFoundError:
            return False


def _stamp(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns


@dataclass(frozen=True)
class _Sources:
    """Sources that are answered together: ids as JSON, and rows."""

    ids: list[bytes]
    rows: Rows


class Version:
    """One published version, open for reading."""

    def __init__(self, folder: Path, model_id: str, number: int) -> None:
        self.number = number
        self._model_id = model_id
        self._folder = folder
        self._config = read_config(folder)
        self._texts = Texts(folder / TEXTS)
        vocabulary = self._config.vocabulary
        self._cached = open_pairs(folder, {kind: vocabulary.block(kind).start for kind in vocabulary.types})
        self._types = [orjson.dumps(kind) for kind in vocabulary.types]

    # Vectors are only read when something is asked that was not computed ahead.
    @cached_property
    def _model(self) -> Model:
        return read_model(self._folder)

    def recommend(self, query: RecommendationQuery) -> Answer:
        """Answer a query about this version; see `Shelf.recommend`."""
        kinds = list(dict.fromkeys(query.target_type))
        for kind in kinds:
            self._config.vocabulary.block(kind)
        if query.source_type:
            rows = np.concatenate([self._config.sources(kind) for kind in dict.fromkeys(query.source_type)])
            blocks = (
                self._block(_Sources(self._texts.of(part)[0], part), kinds, query)
                for part in np.split(rows, range(_SOURCES_AT_ONCE, len(rows), _SOURCES_AT_ONCE))
            )
            return Answer(self._model_id, self.number, [], blocks)
        asked = list(dict.fromkeys(query.source_id or ()))
        found, unknown = self._find(asked)
        if unknown and len(asked) == 1:
            raise UnknownSource(
                f"entity {asked[0]!r} is not part of version {self.number} of model {self._model_id!r}; "
                "upload it and train again"
            )
        blocks = (
            self._block(_Sources(found.ids[start:stop], found.rows[start:stop]), kinds, query)
            for start in range(0, len(found.ids), _SOURCES_AT_ONCE)
            for stop in [start + _SOURCES_AT_ONCE]
        )
        return Answer(self._model_id, self.number, unknown, blocks)

    def recommend_quickly(self, query: RecommendationQuery) -> Answer | None:
        """See `Shelf.recommend_quickly`."""
        if not query.source_id or len(query.source_id) > 1 or len(query.target_type) > 1:
            return None
        source_id = orjson.dumps(query.source_id[0])
        row = self._texts.row(source_id)
        if row is None:
            return None
        kinds = self._config.vocabulary.type_of(row), query.target_type[0]
        if not self._is_cached(*kinds, query):
            return None
        ((targets, scores),) = self._cached[kinds].read(row, 1)
        # Used places come first, and their scores fall.
        kept = np.count_nonzero((targets != UNUSED) & (scores >= query.threshold * MILLION))
        count = min(int(kept), query.max_recommendations)
        columns = self._columns(source_id, targets[:count], scores[:count] / MILLION, _RANKS[:count], query.target_type)
        return Answer(self._model_id, self.number, [], iter([Block(columns, count, {"cache": 1})]))

    def _find(self, asked: Sequence[str]) -> tuple[_Sources, list[str]]:
        """The sources that are known, in the order asked, and the ids of the others."""
        ids, rows, unknown = [], [], []
        for source in asked:
            entity_id = orjson.dumps(source)
            row = self._texts.row(entity_id)
            if row is None:
                unknown.append(source)
            else:
                ids.append(entity_id)
                rows.append(row)
        return _Sources(ids, np.array(rows, np.int64)), unknown

    def _block(self, sources: _Sources, kinds: list[str], query: RecommendationQuery) -> Block:
        """The rows of some sources, in the order in which they were asked."""
        numbers = self._config.vocabulary.type_numbers(sources.rows)
        best = Best.join(
            [
                self._best(self._config.vocabulary.types[number], kind, sources.rows, numbers == number, query)
                for number in np.unique(numbers)
                for kind in kinds
            ]
        )
        if len(kinds) > 1:
            ids = np.array([orjson.loads(target) for target in self._texts.of(best.target_rows)[0]], dtype=object)
            order = np.lexsort((np.argsort(np.argsort(ids)), -best.scores, best.lines))
        else:
            order = np.argsort(best.lines, kind="stable")
        lines, targets, scores = best.lines[order], best.target_rows[order], best.scores[order]
        ranks = np.arange(1, len(lines) + 1) - np.searchsorted(lines, lines)
        kept = (ranks <= query.max_recommendations) & (scores >= query.threshold)
        lines, targets, scores, ranks = lines[kept], targets[kept], scores[kept], ranks[kept]
        source_ids = [sources.ids[line] for line in lines.tolist()]
        columns = self._columns(source_ids, targets, scores, _numbers(ranks), kinds)
        return Block(columns, len(lines), {"cache": len(sources.ids)})

    def _columns(
        self, source_ids: Column, targets: Rows, scores: NDArray[np.float64], ranks: list[bytes], kinds: Sequence[str]
    ) -> dict[str, Column]:
        target_ids, names = self._texts.of(targets)
        return {
            "source_id": source_ids,
            "target_id": target_ids,
            "score": _numbers(scores),
            "rank": ranks,
            "target_type": self._type_texts(kinds, targets),
            "name": names,
            "served_by": b'"cache"',
        }

    def _type_texts(self, kinds: Sequence[str], rows: Rows) -> Column:
        if len(kinds) == 1:
            return orjson.dumps(kinds[0])
        return [self._types[number] for number in self._config.vocabulary.type_numbers(rows).tolist()]

    def _is_cached(self, source_type: str, target_type: str, query: RecommendationQuery) -> bool:
        pair = self._cached.get((source_type, target_type))
        if pair is None or not query.exclude_interacted:
            return False
        return pair.asked >= min(query.max_recommendations, len(self._config.vocabulary.block(target_type)))

    def _best(
        self, source_type: str, target_type: str, rows: Rows, chosen: np.ndarray, query: RecommendationQuery
    ) -> Best:
        """What is best for the chosen ones of some rows."""
        places = np.flatnonzero(chosen)
        if self._is_cached(source_type, target_type, query):
            best = self._read((source_type, target_type), rows[places], query.max_recommendations)
        else:
            scorer = self._model.scorer(source_type, target_type)
            best = scorer.best(rows[places], query.max_recommendations, exclude_interacted=query.exclude_interacted)
        return Best(places[best.lines], best.target_rows, best.scores)

    def _read(self, kinds: tuple[str, str], rows: Rows, count: int) -> Best:
        pair = self._cached[kinds]
        if rows[-1] - rows[0] + 1 == len(rows):
            found = pair.read(int(rows[0]), len(rows))
        else:
            found = np.concatenate([pair.read(row, 1) for row in rows.tolist()])
        targets, scores = found[:, 0, :count], found[:, 1, :count]
        used = targets != UNUSED
        return Best(np.nonzero(used)[0], targets[used].astype(np.int64), scores[used] / MILLION)


def _numbers(values: np.ndarray) -> list[bytes]:
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(values) else []
