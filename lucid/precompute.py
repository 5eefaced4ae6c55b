"""Recommendations computed ahead: the best targets of every source of the chosen pairs, in one DuckDB file.

The file is written once and only read afterwards. Rows are sorted as they are looked up, which is what makes a
look-up fast; an index would not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pandas as pd

from lucid.artifact import ENTITIES, RECOMMENDATIONS, read_model
from lucid.disk import aside, take_place
from lucid.ingest import Progress
from lucid.interacted import Rows
from lucid.schema import PrecomputePair

_SOURCES_AT_ONCE = 4096


def precompute(folder: Path, pairs: Sequence[PrecomputePair], progress: Progress) -> int:
    """Write `recommendations.duckdb` into a version's folder; returns the number of recommendations.

    Raises UnknownType where a pair names a type that the model lacks.
    """
    model = read_model(folder)
    scorers = [model.scorer(pair.source_type, pair.target_type) for pair in pairs]
    total = sum(len(scorer.sources) for scorer in scorers)
    new = aside(folder / RECOMMENDATIONS)
    written = done = 0
    with duckdb.connect(str(new)) as connection:
        _write_entities(connection, folder / ENTITIES)
        for number, (asked, scorer) in enumerate(zip(pairs, scorers, strict=True)):
            connection.execute(
                "INSERT INTO precomputed VALUES (?, ?, ?, ?)",
                [number, asked.source_type, asked.target_type, asked.max_recommendations],
            )
            for sources in _parts(model.config.sources(asked.source_type)):
                progress(100 * done / total, f"{asked.source_type} → {asked.target_type}")
                best = scorer.best(sources, asked.max_recommendations)
                rows = pd.DataFrame({"source": best.source_rows, "target": best.target_rows, "score": best.scores})
                connection.execute(
                    "INSERT INTO recommendations SELECT $pair, source, "
                    "row_number() OVER (PARTITION BY source ORDER BY score DESC, target), target, score "
                    "FROM rows ORDER BY source, score DESC, target",
                    {"pair": number},
                )
                written += len(rows)
                done += len(sources)
    take_place(new, folder / RECOMMENDATIONS)
    return written


def _write_entities(connection: duckdb.DuckDBPyConnection, entities: Path) -> None:
    connection.execute(
        """
        CREATE TABLE precomputed (pair SMALLINT, source_type VARCHAR, target_type VARCHAR, max_recommendations INTEGER);
        CREATE TABLE recommendations (
            pair SMALLINT, source_row INTEGER, rank INTEGER, target_row INTEGER, score DOUBLE);
        CREATE TABLE entities (row INTEGER, id VARCHAR, name VARCHAR);
        CREATE TABLE ids (id VARCHAR, row INTEGER);"""
    )
    connection.execute(
        "INSERT INTO entities SELECT row, id, name FROM read_parquet($path) WHERE id IS NOT NULL ORDER BY row",
        {"path": str(entities)},
    )
    connection.execute("INSERT INTO ids SELECT id, row FROM entities ORDER BY id")


def _parts(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _SOURCES_AT_ONCE):
        yield rows[start : start + _SOURCES_AT_ONCE]
