"""Recommendations computed ahead: the best targets of every source of the chosen pairs.

They are written twice: into one DuckDB file, for people and programs that ask in SQL, and into records of fixed size,
from which the API answers; see `lucid.versions.precomputed`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from lucid.graph.entity_index import write_entity_index
from lucid.model.pair_model import Pair
from lucid.model.scorer import Scorer
from lucid.model.top_n import TopN, top_n
from lucid.schema.training import PrecomputePair
from lucid.side_by_side import side_by_side
from lucid.store.duck import connect
from lucid.store.files import replacing
from lucid.typing import Progress, Rows
from lucid.versions.files import ENTITIES, INDEX, RECOMMENDATIONS
from lucid.versions.precomputed import record_file, records, write_pairs
from lucid.versions.version import Version

_SOURCES_AT_ONCE = 1024
_ROWS_AT_ONCE = 500_000
"""Recommendations that are written together: of many small pairs, each by itself would take longer than to find it."""
_Columns = dict[str, NDArray[Any]]


def pairs_to_precompute(direct: Iterable[Pair], asked: Iterable[PrecomputePair]) -> list[PrecomputePair]:
    """Pairs that interactions link directly, and those that a training's request adds or changes."""
    pairs = {(source, target): PrecomputePair(source_type=source, target_type=target) for source, target in direct}
    pairs |= {(pair.source_type, pair.target_type): pair for pair in asked}
    return list(pairs.values())


def precompute(version: Version, pairs: Sequence[PrecomputePair], progress: Progress) -> int:
    """Write `recommendations.duckdb` and the records into a version's folder; returns the number of recommendations.

    Raises UnknownType where a pair names a type that the model lacks.
    """
    folder, erased = version.folder, np.array(version.config.erased, np.int64)
    scorers = [version.scorer(pair.source_type, pair.target_type) for pair in pairs]
    slots = [min(pair.max_recommendations, len(scorer.targets)) for pair, scorer in zip(pairs, scorers, strict=True)]
    total = sum(len(scorer.sources) for scorer in scorers)
    written = stored = done = 0
    write_entity_index(folder / INDEX, folder / ENTITIES)
    with replacing(folder / RECOMMENDATIONS) as new, connect(new) as connection:
        _write_entities(connection, folder / ENTITIES)
        _write_asked(connection, pairs)
        waiting: list[_Columns] = []
        for number, (asked, scorer, n) in enumerate(zip(pairs, scorers, slots, strict=True)):
            with (folder / record_file(number)).open("wb") as file:
                parts = list(_parts(scorer.sources))
                found = side_by_side(partial(_best, scorer, n, erased), parts)
                for sources, best in zip(parts, found, strict=True):
                    progress(100 * done / total, f"{asked.source_type} → {asked.target_type}")
                    file.write(records(best, len(sources), n).tobytes())
                    waiting.append(_columns(number, sources, best))
                    written += len(best.positions)
                    if written - stored >= _ROWS_AT_ONCE:
                        _write_recommendations(connection, waiting)
                        waiting, stored = [], written
                    done += len(sources)
        _write_recommendations(connection, waiting)
        connection.execute("CHECKPOINT")  # closing does it too, but says nothing where the disk is full
    write_pairs(folder, list(zip(pairs, slots, strict=True)))
    return written


def _best(scorer: Scorer, n: int, erased: Rows, sources: Rows) -> TopN:
    kept = np.flatnonzero(~np.isin(sources, erased))
    best = top_n(scorer, scorer.profiles(sources[kept]), n)
    return replace(best, positions=kept[best.positions])


def _write_entities(connection: duckdb.DuckDBPyConnection, entities: Path) -> None:
    connection.execute(
        """
        CREATE TABLE precomputed (pair SMALLINT, source_type VARCHAR, target_type VARCHAR, max_recommendations INTEGER);
        CREATE TABLE recommendations (
            pair SMALLINT, source_row INTEGER, rank INTEGER, target_row INTEGER, score DOUBLE);
        CREATE TABLE entities (row INTEGER, id VARCHAR, name VARCHAR);"""
    )
    connection.execute(
        "INSERT INTO entities SELECT row, id, name FROM read_parquet($path) WHERE id IS NOT NULL ORDER BY row",
        {"path": str(entities)},
    )


def _write_asked(connection: duckdb.DuckDBPyConnection, pairs: Sequence[PrecomputePair]) -> None:
    connection.execute(
        "INSERT INTO precomputed SELECT generate_subscripts($sources::VARCHAR[], 1) - 1, unnest($sources::VARCHAR[]), "
        "unnest($targets::VARCHAR[]), unnest($counts::INTEGER[])",
        {
            "sources": [pair.source_type for pair in pairs],
            "targets": [pair.target_type for pair in pairs],
            "counts": [pair.max_recommendations for pair in pairs],
        },
    )


def _columns(pair: int, sources: Rows, best: TopN) -> _Columns:
    """The rows of `recommendations` of some sources, which lie one after the other, the best first."""
    count = len(best.positions)
    ranks = np.arange(count) - np.searchsorted(best.positions, best.positions) + 1
    return {
        "pair": np.full(count, pair, np.int16),
        "source_row": sources[best.positions],
        "rank": ranks,
        "target_row": best.target_rows,
        "score": best.scores,
    }


def _write_recommendations(connection: duckdb.DuckDBPyConnection, waiting: Sequence[_Columns]) -> None:
    if not waiting:
        return
    connection.register("rows", {name: np.concatenate([columns[name] for columns in waiting]) for name in waiting[0]})
    connection.execute("INSERT INTO recommendations SELECT pair, source_row, rank, target_row, score FROM rows")
    connection.unregister("rows")


def _parts(rows: range) -> Iterator[Rows]:
    for start in range(rows.start, rows.stop, _SOURCES_AT_ONCE):
        yield np.arange(start, min(start + _SOURCES_AT_ONCE, rows.stop), dtype=np.int64)
