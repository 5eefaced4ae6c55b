"""Entities leave the batches: rows, metadata, what was set aside, and the texts of the catalog."""

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from lucid.data.csv_load import REJECTS, ROWS
from lucid.data.event_batches import compact_events, forget_compacted
from lucid.data.spellings import fold, made_of, telling_part
from lucid.erasure.matching import matcher
from lucid.schema.batches import Erased
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect, copy, count
from lucid.store.files import replacing
from lucid.store.home import Home
from lucid.store.machine import telling

PATIENCE_SECONDS = 24 * 3600
"""Longer than any import or training that an erasure may have to wait for."""


def erase_from_batches(settings: Settings, ids: Sequence[str]) -> Erased:
    """Erase entities from all batches, what was set aside and the catalog; imports under way are waited for.

    Events that came before are compacted first, so that they are erased as rows of batches are.
    """
    catalog = Catalog(settings.home)
    compact_events(settings, catalog)
    forget_compacted(settings, catalog)
    _wait_for_imports(catalog)
    names_one = matcher(ids)
    counts = Erased()
    for batch in catalog.batches.find():
        folder = Home(settings.home).batch(batch.batch_id)
        try:
            with telling(folder):
                erased, left = _erase_rows(folder / ROWS, ids)
                erased += _erase_rejects(folder / REJECTS, names_one)
            if erased != Erased():
                catalog.batches.set_rows(batch.batch_id, left)
            counts += erased
        except (duckdb.IOException, FileNotFoundError):
            if folder.exists():
                raise
            continue  # the batch was deleted meanwhile
    catalog.blank(names_one)
    return counts


def _wait_for_imports(catalog: Catalog) -> None:
    """An import that began earlier may hold one of the ids."""
    begun = {batch.batch_id for batch in catalog.batches.running()}
    Retrying(retry=retry_if_result(bool), wait=wait_fixed(0.5), stop=stop_after_delay(PATIENCE_SECONDS), reraise=True)(
        lambda: begun & {batch.batch_id for batch in catalog.batches.running()}
    )


def _erase_rows(path: Path, ids: Sequence[str]) -> tuple[Erased, int]:
    """Write a batch's rows anew if any names one of the entities; also returns how many are left."""
    with _spilling(path.parent / "spill") as connection:
        columns = [row[0] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()]
        names = [name for name in ("id", "source_id", "target_id") if name in columns]
        # An end that names its type may be the entity of a namespace.
        names += [f"({end}_type || ':' || {end}_id)" for end in ("source", "target") if f"{end}_type" in columns]
        # An unknown type makes no name, and NULL would neither be gone nor stay.
        named = " OR ".join(f"coalesce(list_contains($ids, {name}), false)" for name in names)
        values = {"path": str(path), "ids": list(ids)}
        rows, gone = connection.execute(
            f"SELECT count(*), count(*) FILTER ({named}) FROM read_parquet($path)", values
        ).fetchone() or (0, 0)
        changes = _changed_metadata(connection, path, ids, f"NOT ({named})")
        counts = Erased(metadata_values=sum(count for _, _, count in changes))
        counts += Erased(entities=gone) if "id" in columns else Erased(interactions=gone)
        if counts != Erased():
            connection.execute(
                "CREATE TABLE changes AS "
                "SELECT unnest($rows::BIGINT[]) AS row, unnest($metadata::VARCHAR[]) AS metadata",
                {"rows": [row for row, _, _ in changes], "metadata": [metadata for _, metadata, _ in changes]},
            )
            _rewrite(
                connection,
                path,
                "SELECT r.* EXCLUDE (file_row_number) REPLACE (CASE WHEN row IS NULL THEN r.metadata "
                "ELSE changes.metadata END AS metadata) "
                "FROM read_parquet($path, file_row_number = true) r LEFT JOIN changes ON row = file_row_number "
                f"WHERE NOT ({named}) ORDER BY file_row_number",
                values,
            )
    return counts, rows - gone


@contextmanager
def _spilling(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that puts what memory does not hold into a folder, of which nothing stays."""
    try:
        with connect(spill=folder) as connection:
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _changed_metadata(
    connection: duckdb.DuckDBPyConnection, path: Path, ids: Sequence[str], kept: str
) -> list[tuple[int, str | None, int]]:
    """Row number, metadata without the ids, and how many values went, of each row whose metadata names one."""
    parts, made = sorted({part for name in ids for part in _values(name)}), made_of(ids)
    sure = sorted({telling_part(name.partition(":")[2]) for name in made})
    found = connection.execute(
        "SELECT file_row_number, metadata FROM read_parquet($path, file_row_number = true) "
        # JSON may spell any character with a backslash, HTML with an ampersand; what is found here is looked at closely
        # below.
        f"WHERE {kept} AND metadata IS NOT NULL "
        "AND (contains(metadata, '\\') OR (len($sure) > 0 AND contains(metadata, '&')) "
        "OR len(list_filter($parts, lambda part: contains(metadata, part))) > 0 "
        "OR len(list_filter($sure, lambda part: contains(lower(metadata), part))) > 0)",
        {"path": str(path), "ids": list(ids), "parts": parts, "sure": sure},
    ).fetchall()
    changes = []
    for row, metadata in found:
        left, count = _without(json.loads(metadata), {*ids}, made)
        if count:
            changes.append((row, json.dumps(left, ensure_ascii=False) if left else None, count))
    return changes


def _values(name: str) -> Iterator[str]:
    """An id, and the values of metadata that it may have been made of: `writer:Ann` comes of the value `Ann`."""
    yield name
    for place, letter in enumerate(name):
        if letter == ":" and name[place + 1 :]:
            yield name[place + 1 :]


def _without(value: Any, ids: Collection[str], made: Collection[str], key: str = "") -> tuple[Any, int]:
    """Decoded JSON without the texts that are one of the ids, or make an entity of that id, and how many went.

    `made` are the ids with their values folded: all spellings of a value make one entity.
    """
    if isinstance(value, dict):
        parts = {name: (inner, f"{key}.{name}" if key else name) for name, inner in value.items()}
        kept, count = {}, 0
        for name, (inner, path) in parts.items():
            if name in ids or _is_one(inner, path, ids, made):
                count += 1
            else:
                kept[name], inside = _without(inner, ids, made, path)
                count += inside
        return kept, count
    if isinstance(value, list):
        inner_values = [_without(inner, ids, made, key) for inner in value if not _is_one(inner, key, ids, made)]
        count = len(value) - len(inner_values) + sum(inside for _, inside in inner_values)
        return [inner for inner, _ in inner_values], count
    return value, 0


def _is_one(value: Any, key: str, ids: Collection[str], made: Collection[str]) -> bool:
    if not isinstance(value, str):
        return False
    text = value.strip()
    return text in ids or f"{key}:{text}" in ids or (len(made) > 0 and f"{key}:{fold(text)}" in made)


def _erase_rejects(path: Path, names_one: Callable[[str], bool]) -> Erased:
    """Blank the values of rows that were set aside where they name one of the entities; the rows stay counted."""
    with connect() as connection:
        found = connection.execute("SELECT DISTINCT value FROM read_parquet(?) WHERE value IS NOT NULL", [str(path)])
        values = [value for (value,) in found.fetchall() if names_one(value)]
        if not values:
            return Erased()
        connection.execute("CREATE TABLE erased AS SELECT unnest(?::VARCHAR[]) AS value", [values])
        blanked = count(connection, "read_parquet($path) SEMI JOIN erased USING (value)", {"path": str(path)})
        _rewrite(
            connection,
            path,
            "SELECT r.* REPLACE (CASE WHEN erased.value IS NULL THEN r.value END AS value) "
            "FROM read_parquet($path) r LEFT JOIN erased ON r.value = erased.value ORDER BY line",
            {"path": str(path)},
        )
    return Erased(rejected_rows=blanked)


def _rewrite(connection: duckdb.DuckDBPyConnection, path: Path, query: str, values: dict[str, Any]) -> None:
    """Put the rows of a query in a Parquet file's place."""
    with replacing(path) as new:
        copy(connection, query, new, values)
