"""Drift: what is odd about a batch by itself, or beside the batches before it, that a row alone does not tell.

Everything here is told and nothing is refused: only who sends the data knows whether it is meant. A batch is compared
with earlier ones of the same types only, since many send each type in a file of its own. Thresholds are set by hand,
so that ordinary data, and ordinary growth of it, say nothing.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Literal

import duckdb

from lucid.data.csv_load import REJECTS
from lucid.data.selection import files_of
from lucid.store.duck import connect
from lucid.store.home import Home
from lucid.store.tables.batches import SelectedBatch

_FILE = "drift.json"
LEAST_ROWS = 100
"""In a batch, or of an earlier one, before anything is said of shares and rates."""
_DOMINATES, _TIMES_MEAN = 0.2, 10
"""The share of a batch's interactions that one source has, and how many times what a source has on average."""
_ALIKE = 0.9
_EPOCH_SHARE, _EPOCH = 0.01, datetime(1970, 1, 1, tzinfo=UTC)
_REJECTED, _TIMES_REJECTED = 0.1, 3
_RATE_FACTOR, _SURE_RATE_FACTOR, _SURE_AFTER = 10, 5, 3
"""How many times more or fewer rows a day than before; of three batches and more, fewer times tell."""
_MOVED = 0.3
"""Of the interactions that would have to be of another type for the shares to be those of before."""
_USUAL, _GONE = 0.5, 0.05
"""The share of rows that had a key or a time before, and that has it now."""
_TYPE_SHARE = 0.1


DriftCode = Literal[
    "new_type",
    "similar_types",
    "vanished_type",
    "changed_shares",
    "changed_rate",
    "vanished_timestamps",
    "same_timestamps",
    "zero_timestamps",
    "vanished_key",
    "dominant_source",
    "rejected_rows",
    "repeated_batch",
]


@dataclass(frozen=True)
class Drift:
    """Something odd about a batch: a code, a sentence for people, and the figures in it.

    `examples` are values of customers, which erasure takes out; sentences name types and keys only.
    """

    code: DriftCode
    batch_id: str
    message: str
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass
class _Batch:
    """What is counted of a batch: rows by type, and what the checks look at."""

    batch_id: str
    rows: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    digest: int = 0
    timed: int = 0
    epoch: int = 0
    first: datetime | None = None
    last: datetime | None = None
    most_alike: int = 0
    sources: int = 0
    most_of_source: int = 0
    busiest: str = ""
    keys: dict[str, Counter[str]] = field(default_factory=dict)
    """Of entities: by type, how many rows have a key."""

    @property
    def count(self) -> int:
        return self.rows.total()

    @property
    def rows_a_day(self) -> float | None:
        if self.first is None or self.last is None:
            return None
        return self.timed / max((self.last - self.first) / timedelta(days=1), 1.0)


def find_drift(home: Path, batches: Sequence[SelectedBatch], spill: Path | None = None) -> list[Drift]:
    """What is odd about some batches, in upload order; `spill` as for `connect`. Raises TrainingFailed where one was
    deleted."""
    found: list[Drift] = []
    with connect(spill=spill) as connection:
        for entities in (True, False):
            of_type = [batch for batch in batches if (batch.file_type == "entities") == entities]
            files = files_of(home, of_type, "entities" if entities else "interactions")
            if files:
                counted = {file: _Batch(batch.batch_id) for file, batch in zip(files, of_type, strict=True)}
                (_count_entities if entities else _count_interactions)(connection, counted)
                _count_rejected(connection, home, counted.values())
                found += _odd(list(counted.values()), entities=entities)
    places = {batch.batch_id: place for place, batch in enumerate(batches)}
    return sorted(found, key=lambda drift: places[drift.batch_id])


def write_drift(folder: Path, found: Sequence[Drift]) -> None:
    (folder / _FILE).write_text(json.dumps([asdict(drift) for drift in found]))


def read_drift(folder: Path) -> list[Drift]:
    """What `write_drift` left in a folder."""
    return [Drift(**raw) for raw in json.loads((folder / _FILE).read_text())]


# Counting


def _each(connection: duckdb.DuckDBPyConnection, files: Iterable[str], query: str) -> Iterator[tuple[Any, ...]]:
    """Rows of a query over `rows`, which stands for all files with their `filename`."""
    with_rows = f"WITH rows AS (FROM read_parquet($files, filename = true)) {query}"
    yield from connection.execute(with_rows, {"files": list(files)}).fetchall()


def _count_entities(connection: duckdb.DuckDBPyConnection, counted: Mapping[str, _Batch]) -> None:
    query = "SELECT filename, type, count(*), bit_xor(hash(id, type, name, metadata)) FROM rows GROUP BY ALL"
    for file, entity_type, rows, digest in _each(connection, counted, query):
        counted[file].rows[entity_type] += rows
        counted[file].digest ^= digest
    query = """
        SELECT filename, type, key, count(*) FROM (SELECT filename, type, unnest(json_keys(metadata)) AS key FROM rows)
        GROUP BY ALL"""
    for file, entity_type, key, rows in _each(connection, counted, query):
        counted[file].keys.setdefault(entity_type, Counter())[key] += rows


def _count_interactions(connection: duckdb.DuckDBPyConnection, counted: Mapping[str, _Batch]) -> None:
    query = (
        "SELECT filename, type, count(*), bit_xor(hash(type, source_id, target_id, timestamp)) FROM rows GROUP BY ALL"
    )
    for file, interaction_type, rows, digest in _each(connection, counted, query):
        counted[file].rows[interaction_type] += rows
        counted[file].digest ^= digest
    query = """
        SELECT filename, sum(times), max(times), min(timestamp), max(timestamp),
            coalesce(sum(times) FILTER (timestamp = TIMESTAMPTZ '1970-01-01 00:00:00+00'), 0)
        FROM (SELECT filename, timestamp, count(*) AS times FROM rows WHERE timestamp IS NOT NULL GROUP BY ALL)
        GROUP BY filename"""
    for file, timed, alike, first, last, epoch in _each(connection, counted, query):
        batch = counted[file]
        batch.timed, batch.most_alike, batch.first, batch.last, batch.epoch = timed, alike, first, last, epoch
    query = """
        SELECT filename, count(*), max(times), arg_max(source_id, times)
        FROM (SELECT filename, source_id, count(*) AS times FROM rows GROUP BY ALL) GROUP BY filename"""
    for file, sources, most, busiest in _each(connection, counted, query):
        batch = counted[file]
        batch.sources, batch.most_of_source, batch.busiest = sources, most, busiest


def _count_rejected(connection: duckdb.DuckDBPyConnection, home: Path, batches: Iterable[_Batch]) -> None:
    files = {str(Home(home).batch(batch.batch_id) / REJECTS): batch for batch in batches}
    there = [file for file in files if Path(file).exists()]
    if there:
        query = "SELECT file_name, num_rows FROM parquet_file_metadata($files)"
        for file, rows in connection.execute(query, {"files": there}).fetchall():
            files[file].rejected = rows


# Judging


def _odd(batches: Sequence[_Batch], *, entities: bool) -> Iterator[Drift]:
    yield from _spellings(batches)
    for place, batch in enumerate(batches):
        earlier = [one for one in batches[:place] if one.rows.keys() & batch.rows.keys()]
        yield from _repeated(batch, earlier)
        yield from _rejected(batch, earlier)
        yield from _new_types(batch, earlier, batches[:place])
        if entities:
            yield from _vanished_keys(batch, earlier)
        else:
            yield from _alone(batch)
            yield from _beside(batch, earlier)


def _spellings(batches: Sequence[_Batch]) -> Iterator[Drift]:
    """Types that are the same but for case and separators are seldom two."""
    known: dict[str, str] = {}
    for batch in batches:
        for name, rows in batch.rows.items():
            first = known.setdefault("".join(filter(str.isalnum, name.casefold())) or name, name)
            if first != name:
                message = f"the type {name!r} of {rows:,} rows is spelt nearly as {first!r}; they count as two types"
                yield Drift("similar_types", batch.batch_id, message, {"type": name, "similar_to": first, "rows": rows})


def _repeated(batch: _Batch, earlier: Sequence[_Batch]) -> Iterator[Drift]:
    for one in earlier:
        if (one.rows, one.digest) == (batch.rows, batch.digest):
            message = f"it has the same {batch.count:,} rows as batch {one.batch_id}, so it adds nothing"
            yield Drift("repeated_batch", batch.batch_id, message, {"rows": batch.count, "batch_id": one.batch_id})
            return


def _rejected(batch: _Batch, earlier: Sequence[_Batch]) -> Iterator[Drift]:
    share = batch.rejected / max(batch.count + batch.rejected, 1)
    before = sum(one.rejected for one in earlier) / max(sum(one.count + one.rejected for one in earlier), 1)
    if share >= _REJECTED and share >= _TIMES_REJECTED * before and batch.rejected >= 10:
        was = f", of earlier batches {before:.1%}" if earlier else ""
        message = f"{share:.1%} of its rows were set aside{was}; look at its errors"
        yield Drift(
            "rejected_rows", batch.batch_id, message, {"share": share, "before": before, "rows": batch.rejected}
        )


def _new_types(batch: _Batch, earlier: Sequence[_Batch], every: Sequence[_Batch]) -> Iterator[Drift]:
    """Types that no batch had, in one that also has known ones: a file of new types only is meant to be so."""
    known = set().union(*(one.rows for one in every))
    for name, rows in batch.rows.items():
        if earlier and name not in known:
            message = f"{rows:,} rows have the type {name!r}, which no earlier batch has"
            yield Drift("new_type", batch.batch_id, message, {"type": name, "rows": rows})


def _vanished_keys(batch: _Batch, earlier: Sequence[_Batch]) -> Iterator[Drift]:
    for entity_type, rows in batch.rows.items():
        rows_before = sum(one.rows[entity_type] for one in earlier)
        if min(rows, rows_before) < LEAST_ROWS:
            continue
        before: Counter[str] = Counter()
        for one in earlier:
            before += one.keys.get(entity_type, Counter())
        now = batch.keys.get(entity_type, Counter())
        for key, times in before.items():
            was, share = times / rows_before, now[key] / rows
            if was >= _USUAL and share <= _GONE:
                message = f"{share:.0%} of the {rows:,} entities of type {entity_type!r} have the metadata key {key!r}"
                message += f", of earlier batches {was:.0%}"
                figures: dict[str, float | int | str] = {"type": entity_type, "key": key, "share": share, "before": was}
                yield Drift("vanished_key", batch.batch_id, message, figures)


def _alone(batch: _Batch) -> Iterator[Drift]:
    """What is odd about interactions whatever came before."""
    if batch.count < LEAST_ROWS:
        return
    share = batch.most_of_source / batch.count
    if share >= _DOMINATES and share * batch.sources >= _TIMES_MEAN:
        message = f"one of {batch.sources:,} sources has {share:.0%} of its {batch.count:,} interactions"
        figures = {"share": share, "rows": batch.most_of_source, "sources": batch.sources}
        yield Drift("dominant_source", batch.batch_id, message, figures, [batch.busiest])
    alike = batch.most_alike / max(batch.timed, 1)
    if batch.timed >= LEAST_ROWS and alike >= _ALIKE:
        message = f"{alike:.0%} of its {batch.timed:,} timestamps are the same, so they tell no order"
        yield Drift("same_timestamps", batch.batch_id, message, {"share": alike, "rows": batch.most_alike})
    elif batch.epoch >= max(10, _EPOCH_SHARE * batch.timed):
        message = f"{batch.epoch:,} timestamps are the beginning of 1970, as where a time was missing"
        yield Drift("zero_timestamps", batch.batch_id, message, {"rows": batch.epoch})


def _beside(batch: _Batch, earlier: Sequence[_Batch]) -> Iterator[Drift]:
    """What is odd about interactions beside earlier ones of the same types."""
    rows_before = sum(one.count for one in earlier)
    if rows_before < LEAST_ROWS:
        return
    yield from _rate(batch, earlier)
    if batch.count < LEAST_ROWS:
        return
    timed, timed_before = batch.timed / batch.count, sum(one.timed for one in earlier) / rows_before
    if timed_before >= _USUAL and timed <= _GONE:
        message = f"{timed:.0%} of its interactions have a timestamp, of earlier batches {timed_before:.0%}"
        yield Drift("vanished_timestamps", batch.batch_id, message, {"share": timed, "before": timed_before})
    before = sum((one.rows for one in earlier), Counter[str]())
    shares = {name: (batch.rows[name] / batch.count, before[name] / rows_before) for name in batch.rows | before}
    for name, (share, was) in shares.items():
        if not share and was >= _TYPE_SHARE:
            message = f"it has no interaction of type {name!r}, which {was:.0%} of the earlier ones are"
            yield Drift("vanished_type", batch.batch_id, message, {"type": name, "before": was})
    moved = sum(abs(share - was) for share, was in shares.values()) / 2
    if moved >= _MOVED and len(batch.rows.keys() & before.keys()) > 1:
        name, (share, was) = max(shares.items(), key=lambda one: abs(one[1][0] - one[1][1]))
        message = f"{share:.0%} of its interactions are of type {name!r}, of earlier batches {was:.0%}"
        yield Drift("changed_shares", batch.batch_id, message, {"type": name, "share": share, "before": was})


def _rate(batch: _Batch, earlier: Sequence[_Batch]) -> Iterator[Drift]:
    """Rows a day, where a batch goes on in time where the others ended."""
    rates = [rate for one in earlier if one.timed >= LEAST_ROWS and (rate := one.rows_a_day)]
    now, last = batch.rows_a_day, max((one.last for one in earlier if one.last), default=None)
    if not rates or not now or batch.first is None or last is None or batch.first < last - timedelta(days=1):
        return
    usual = median(rates)
    factor = _SURE_RATE_FACTOR if len(rates) >= _SURE_AFTER else _RATE_FACTOR
    if max(now / usual, usual / now) >= factor:
        message = f"it has {now:,.0f} interactions a day, earlier batches {usual:,.0f}"
        yield Drift("changed_rate", batch.batch_id, message, {"rows_a_day": now, "before": usual})
