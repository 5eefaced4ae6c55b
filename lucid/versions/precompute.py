"""Recommendations computed ahead: the best targets of every source of the chosen pairs.

They are written twice: into one DuckDB file, for people and programs that ask in SQL, and into records of fixed size,
from which the API answers; see `lucid.versions.precomputed`. They are found in partitions of the sources, each by
itself, in whatever process, and joined in their order: the files are the same however they were found.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from lucid.side_by_side import cores, side_by_side
from lucid.store.duck import connect
from lucid.store.files import make_folder, open_new, replacing
from lucid.typing import Progress, Rows
from lucid.versions.files import ENTITIES, INDEX, RECOMMENDATIONS
from lucid.versions.precomputed import read_records, record_bytes, record_file, records, write_pairs
from lucid.versions.version import Version

_PARTITION_SCORES = 200_000_000
"""The same as the setting's default: two or three seconds of one processor with 1,024 eigenpairs."""
SCORES_OF_A_SOURCE = 5_000
"""Scores that take as long as what a source needs however few targets it has."""
_SOURCES_AT_ONCE = 1024
_ROWS_AT_ONCE = 500_000
"""Recommendations that are written together: of many small pairs, each by itself would take longer than to find it."""
_Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Piece:
    """Sources of one pair: the rows from `start` up to `stop`, each with so many slots; `pair` counts the pairs."""

    pair: int
    source_type: str
    target_type: str
    slots: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.source_type} → {self.target_type}"


@dataclass(frozen=True)
class Partition:
    """Sources that are done in one go: a part of those of a large pair, or those of several small ones."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def sources(self) -> int:
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def name(self) -> str:
        """What people read: its first pair, and how many more there are."""
        more = len({piece.pair for piece in self.pieces}) - 1
        return self.pieces[0].name + (f" and {more:,} more" if more else "")


Find = Callable[[Sequence[Partition]], Iterable[object]]
"""Does `find_best` for some partitions, and yields something in their order for each that is done."""


def pairs_to_precompute(direct: Iterable[Pair], asked: Iterable[PrecomputePair]) -> list[PrecomputePair]:
    """Pairs that interactions link directly, and those that a training's request adds or changes."""
    pairs = {(source, target): PrecomputePair(source_type=source, target_type=target) for source, target in direct}
    pairs |= {(pair.source_type, pair.target_type): pair for pair in asked}
    return list(pairs.values())


def partition(
    version: Version, pairs: Sequence[PrecomputePair], partition_scores: int = _PARTITION_SCORES
) -> list[Partition]:
    """Divide the sources of some pairs; raises UnknownType where a pair names a type that the model lacks."""
    partitions: list[Partition] = []
    pieces: list[Piece] = []
    left = partition_scores
    for number, pair in enumerate(pairs):
        scorer = version.scorer(pair.source_type, pair.target_type)
        slots, each = min(pair.max_recommendations, len(scorer.targets)), len(scorer.targets) + SCORES_OF_A_SOURCE
        start = scorer.sources.start
        while start < scorer.sources.stop:
            stop = min(start + max(left // each, 1), scorer.sources.stop)
            pieces.append(Piece(number, pair.source_type, pair.target_type, slots, start, stop))
            left -= (stop - start) * each
            start = stop
            if left <= 0:
                partitions.append(Partition(len(partitions), tuple(pieces)))
                pieces, left = [], partition_scores
    return [*partitions, Partition(len(partitions), tuple(pieces))] if pieces else partitions


def find_best(version: Version, part: Partition) -> None:
    """Write the records of a partition into the version's folder for work; done again, it writes the same."""
    erased = np.array(version.config.erased, np.int64)
    blocks = [(piece, sources) for piece in part.pieces for sources in _blocks(piece)]

    def found(block: tuple[Piece, Rows]) -> bytes:
        piece, sources = block
        best = _best(version.scorer(piece.source_type, piece.target_type), piece.slots, erased, sources)
        return records(best, len(sources), piece.slots).tobytes()

    make_folder(version.work)
    with replacing(_found(version, part)) as new, open_new(new) as file:
        file.writelines(side_by_side(found, blocks))


def find_here(version: Version, partitions: Sequence[Partition]) -> Iterable[object]:
    """Do partitions in this process: side by side, or each on all processors where there are not enough of them."""
    work = partial(find_best, version)
    return side_by_side(work, partitions) if len(partitions) >= cores() else map(work, partitions)


def precompute(
    version: Version,
    pairs: Sequence[PrecomputePair],
    progress: Progress,
    find: Find | None = None,
    partition_scores: int = _PARTITION_SCORES,
) -> int:
    """Write `recommendations.duckdb` and the records into a version's folder; returns the number of recommendations.

    `find` has the partitions done, by default `find_here`. Raises UnknownType where a pair names a type that the model
    lacks.
    """
    folder, partitions = version.folder, partition(version, pairs, partition_scores)
    total = max(sum(part.sources for part in partitions), 1)
    find = find or partial(find_here, version)
    done = 0
    write_entity_index(folder / INDEX, folder / ENTITIES)
    for number in range(len(pairs)):
        open_new(folder / record_file(number)).close()
    with replacing(folder / RECOMMENDATIONS) as new, connect(new) as connection:
        _write_entities(connection, folder / ENTITIES)
        _write_asked(connection, pairs)
        rows = _Recommendations(connection)
        for part, _ in zip(partitions, find(partitions), strict=True):
            _join(version, part, rows)
            done += part.sources
            progress(100 * done / total, part.name)
        rows.write()
        connection.execute("CHECKPOINT")  # closing does it too, but says nothing where the disk is full
    slots = [min(pair.max_recommendations, len(version.config.entity_types.rows(pair.target_type))) for pair in pairs]
    write_pairs(folder, list(zip(pairs, slots, strict=True)))
    return rows.count


class _Recommendations:
    """The table `recommendations`, to which many rows are added together."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._waiting: list[_Columns] = []
        self._stored = self.count = 0

    def add(self, columns: _Columns) -> None:
        self._waiting.append(columns)
        self.count += len(columns["rank"])
        if self.count - self._stored >= _ROWS_AT_ONCE:
            self.write()

    def write(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            names = self._waiting[0]
            rows = {name: np.concatenate([columns[name] for columns in self._waiting]) for name in names}
            self._connection.register("rows", rows)
            self._connection.execute(
                "INSERT INTO recommendations SELECT pair, source_row, rank, target_row, score FROM rows"
            )
            self._connection.unregister("rows")
        self._waiting, self._stored = [], self.count


def _join(version: Version, part: Partition, rows: _Recommendations) -> None:
    """Add what was found of a partition to the files that answer, and remove it."""
    path = _found(version, part)
    with path.open("rb") as found:
        for piece in part.pieces:
            with (version.folder / record_file(piece.pair)).open("ab") as file:
                for sources in _blocks(piece):
                    raw = found.read(record_bytes(piece.slots) * len(sources))
                    assert len(raw) == record_bytes(piece.slots) * len(sources)  # it is there as a whole or not at all
                    file.write(raw)
                    rows.add(_columns(piece.pair, sources, read_records(raw, piece.slots)))
    path.unlink()


def _found(version: Version, part: Partition) -> Path:
    return version.work / f"found.{part.number}.bin"


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


def _blocks(piece: Piece) -> Iterator[Rows]:
    for start in range(piece.start, piece.stop, _SOURCES_AT_ONCE):
        yield np.arange(start, min(start + _SOURCES_AT_ONCE, piece.stop), dtype=np.int64)
