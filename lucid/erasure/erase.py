"""Erasure: entities leave for good, from every file under `LUCID_HOME`.

Published files are never changed (nobody must find one half-written), so each is written anew without the entities and
takes the old one's place: a batch's rows, the catalog, and of each model the version that answers. Older versions that
hold one of the entities are removed. Nobody can tell what a damaged version holds, so those are removed too. Every part
can be done again, so an erasure that was cut off is simply repeated.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from lucid.data.batches import batch_folder
from lucid.data.csv_load import REJECTS, ROWS
from lucid.errors import AlreadyTraining, DamagedVersion, InvalidRequest, ModelNotReady, UnknownModel
from lucid.schema.batches import Erased
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.files import make_folder, replacing
from lucid.store.machine import connect, telling
from lucid.training import run, steps
from lucid.training.report import read_report
from lucid.typing import Progress, Rows
from lucid.versions import lifecycle, soundness

MAX_IDS_LENGTH = 1_000_000
_PATIENCE_SECONDS = 24 * 3600
"""Longer than any training that an erasure may have to wait for."""


def erase(settings: Settings, ids: Sequence[str], progress: Progress) -> Erased:
    """Erase entities in this process and count what went; waits for imports and trainings that are under way."""
    check_ids(ids)
    models = Catalog(settings.home).models()
    progress(0, "batches")
    counts = erase_from_batches(settings, ids)
    for number, model_id in enumerate(models, start=1):
        progress(100 * number / (len(models) + 1), f"model {model_id}")
        counts += erase_from_model(settings, model_id, ids)
    return counts


def check_ids(ids: Sequence[str]) -> None:
    """Raise InvalidRequest for ids that cannot be erased in one call."""
    if not ids or not all(ids):
        raise InvalidRequest("name the entities to erase by their ids; an id is not empty")
    if (size := sum(map(len, ids))) > MAX_IDS_LENGTH:
        raise InvalidRequest(
            f"the ids are {size:,} characters together, at most {MAX_IDS_LENGTH:,} are erased in one call; make several"
        )


# Batches


def erase_from_batches(settings: Settings, ids: Sequence[str]) -> Erased:
    """Erase entities from all batches, what was set aside and the catalog; imports under way are waited for."""
    catalog = Catalog(settings.home)
    _wait_for_imports(catalog)
    names_one = _matcher(ids)
    counts = Erased()
    for batch in catalog.batches():
        folder = batch_folder(settings.home, batch.batch_id)
        try:
            with telling(folder):
                erased, left = _erase_rows(folder / ROWS, ids)
                erased += _erase_rejects(folder / REJECTS, names_one)
            if erased != Erased():
                catalog.set_batch_rows(batch.batch_id, left)
            counts += erased
        except (duckdb.IOException, FileNotFoundError):
            if folder.exists():
                raise
            continue  # the batch was deleted meanwhile
    catalog.blank(names_one)
    return counts


def _wait_for_imports(catalog: Catalog) -> None:
    """An import that began earlier may hold one of the ids."""
    begun = {batch_id for batch_id, _, _ in catalog.running_batches()}
    Retrying(retry=retry_if_result(bool), wait=wait_fixed(0.5), stop=stop_after_delay(_PATIENCE_SECONDS), reraise=True)(
        lambda: begun & {batch_id for batch_id, _, _ in catalog.running_batches()}
    )


def _erase_rows(path: Path, ids: Sequence[str]) -> tuple[Erased, int]:
    """Write a batch's rows anew if any names one of the entities; also returns how many are left."""
    with _spilling(path.parent / "spill") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = [row[0] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()]
        named = " OR ".join(
            f"list_contains($ids, {name})" for name in ("id", "source_id", "target_id") if name in columns
        )
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
        with connect(config={"temp_directory": str(folder)}) as connection:
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _changed_metadata(
    connection: duckdb.DuckDBPyConnection, path: Path, ids: Sequence[str], kept: str
) -> list[tuple[int, str | None, int]]:
    """Row number, metadata without the ids, and how many values went, of each row whose metadata names one."""
    parts = sorted({part for name in ids for part in _spellings(name)})
    found = connection.execute(
        "SELECT file_row_number, metadata FROM read_parquet($path, file_row_number = true) "
        # JSON may spell any character with a backslash; what is found here is looked at closely below.
        f"WHERE {kept} AND metadata IS NOT NULL "
        "AND (contains(metadata, '\\') OR len(list_filter($parts, lambda part: contains(metadata, part))) > 0)",
        {"path": str(path), "ids": list(ids), "parts": parts},
    ).fetchall()
    changes = []
    for row, metadata in found:
        left, count = _without(json.loads(metadata), set(ids))
        if count:
            changes.append((row, json.dumps(left, ensure_ascii=False) if left else None, count))
    return changes


def _spellings(name: str) -> Iterator[str]:
    """An id, and the values of metadata that it may have been made of: `writer:Ann` comes of the value `Ann`."""
    yield name
    for place, letter in enumerate(name):
        if letter == ":" and name[place + 1 :]:
            yield name[place + 1 :]


def _without(value: Any, ids: Collection[str], key: str = "") -> tuple[Any, int]:
    """Decoded JSON without the texts that are one of the ids, or make an entity of that id, and how many went."""
    if isinstance(value, dict):
        parts = {name: (inner, f"{key}.{name}" if key else name) for name, inner in value.items()}
        kept, count = {}, 0
        for name, (inner, path) in parts.items():
            if name in ids or _is_one(inner, path, ids):
                count += 1
            else:
                kept[name], inside = _without(inner, ids, path)
                count += inside
        return kept, count
    if isinstance(value, list):
        inner_values = [_without(inner, ids, key) for inner in value if not _is_one(inner, key, ids)]
        count = len(value) - len(inner_values) + sum(inside for _, inside in inner_values)
        return [inner for inner, _ in inner_values], count
    return value, 0


def _is_one(value: Any, key: str, ids: Collection[str]) -> bool:
    return isinstance(value, str) and (value.strip() in ids or f"{key}:{value.strip()}" in ids)


def _erase_rejects(path: Path, names_one: Callable[[str], bool]) -> Erased:
    """Blank the values of rows that were set aside where they name one of the entities; the rows stay counted."""
    with connect() as connection:
        found = connection.execute("SELECT DISTINCT value FROM read_parquet(?) WHERE value IS NOT NULL", [str(path)])
        values = [value for (value,) in found.fetchall() if names_one(value)]
        if not values:
            return Erased()
        connection.execute("CREATE TABLE erased AS SELECT unnest(?::VARCHAR[]) AS value", [values])
        (count,) = connection.execute(
            "SELECT count(*) FROM read_parquet(?) SEMI JOIN erased USING (value)", [str(path)]
        ).fetchone() or (0,)
        _rewrite(
            connection,
            path,
            "SELECT r.* REPLACE (CASE WHEN erased.value IS NULL THEN r.value END AS value) "
            "FROM read_parquet($path) r LEFT JOIN erased ON r.value = erased.value ORDER BY line",
            {"path": str(path)},
        )
    return Erased(rejected_rows=count)


def _rewrite(connection: duckdb.DuckDBPyConnection, path: Path, query: str, values: dict[str, Any]) -> None:
    """Put the rows of a query in a Parquet file's place."""
    with replacing(path) as new:
        connection.execute(f"COPY ({query}) TO $target (FORMAT parquet)", {**values, "target": str(new)})


def _matcher(ids: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether a text names one of the ids: as a whole, or between characters that are no part of a word."""
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in ids))
    return lambda text: text in ids or pattern.search(text) is not None


# Models


def erase_from_model(settings: Settings, model_id: str, ids: Sequence[str]) -> Erased:
    """Erase entities from a model, once no training works on it: a version without them takes over.

    Versions that hold one of them, or an example of a value that names one, are removed.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(AlreadyTraining),
        wait=wait_fixed(1),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        reraise=True,
    )
    with suppress(UnknownModel):  # deleted meanwhile
        counts: Erased = attempts(_erase_now, settings, model_id, ids)
        return counts
    return Erased()


def _erase_now(settings: Settings, model_id: str, ids: Sequence[str]) -> Erased:
    home, counts = settings.home, Erased()
    with run.alone_with(settings, model_id), suppress(ModelNotReady):
        try:
            counts = _erase_from_versions(settings, model_id, ids)
        except DamagedVersion:
            soundness.repair_model(home, Catalog(home), model_id)
            counts = _erase_from_versions(settings, model_id, ids)
        lifecycle.remove_set_aside(home, model_id)
    return counts


def _erase_from_versions(settings: Settings, model_id: str, ids: Sequence[str]) -> Erased:
    """Erase entities from the versions of a model; raises DamagedVersion where one of them cannot be read."""
    home, names_one, counts = settings.home, _matcher(ids), Erased()
    holding = [
        number
        for number in lifecycle.begun_versions(home, model_id)
        if _names_one(lifecycle.version_folder(home, model_id, number), ids, names_one)
    ]
    for live in holding:
        if lifecycle.is_live(home, model_id, live):
            folder = lifecycle.version_folder(home, model_id, live)
            lifecycle.expect_sound(folder, thoroughly=True)
            rows = _rows_of(folder, ids)
            counts = Erased(models=1, vectors=len(rows), recommendations=_recommendations(folder, rows))
            with run.succeeding(settings, model_id) as successor:
                _take_over_without(successor, rows, ids, names_one)
                steps.precompute(successor)
                steps.publish(successor)
    for number in holding:
        lifecycle.remove_version(home, model_id, number)
    return counts


def _names_one(folder: Path, ids: Sequence[str], names_one: Callable[[str], bool]) -> bool:
    """Whether a version holds one of the entities, or an example in its report names one; raises DamagedVersion."""
    with lifecycle.reading(folder):
        examples = [example for part in _with_examples(read_report(folder)) for example in part["examples"]]
    try:
        return len(_rows_of(folder, ids)) > 0 or any(names_one(example) for example in examples)
    except duckdb.Error as error:
        raise DamagedVersion(f"version {folder.name}", f"{lifecycle.ENTITIES}: not a readable Parquet file") from error


def _with_examples(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from report["steps"]
    yield from report["keys"]


def _rows_of(folder: Path, ids: Sequence[str]) -> Rows:
    """Rows of the entities in a version, and of those that metadata made of their ids."""
    with connect() as connection:
        found = connection.execute(
            "SELECT row FROM read_parquet($path) WHERE list_contains($ids, id) "
            "OR (list_contains($ids, name) AND ends_with(id, ':' || name)) ORDER BY row",
            {"path": str(folder / lifecycle.ENTITIES), "ids": list(ids)},
        ).fetchnumpy()
    return np.asarray(found["row"], np.int64)


def _recommendations(folder: Path, rows: Rows) -> int:
    """How many cached recommendations are for or of some entities."""
    with connect(folder / lifecycle.RECOMMENDATIONS, read_only=True) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM recommendations WHERE list_contains($rows, source_row) "
            "OR list_contains($rows, target_row)",
            {"rows": rows.tolist()},
        ).fetchone() or (0,)
    return int(count)


def _take_over_without(
    successor: run.Training, rows: Rows, ids: Sequence[str], names_one: Callable[[str], bool]
) -> None:
    """Give a version everything of the one it refreshes but what belongs to the erased rows, which stay empty."""
    assert successor.refresh_of is not None
    source = lifecycle.version_folder(successor.settings.home, successor.model_id, successor.refresh_of)
    folder = successor.folder
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    config = lifecycle.read_config(source).without(rows)
    lifecycle.write_config(folder, config)
    lifecycle.write_views(folder, [view.without(rows) for view in lifecycle.read_views(source, config)])
    lifecycle.write_interacted(folder, lifecycle.read_interacted(source).without(rows))
    lifecycle.write_edges(folder, lifecycle.read_edges(source).without(rows))
    shutil.copyfile(source / lifecycle.ORIGIN, folder / lifecycle.ORIGIN)
    report = read_report(source)
    for part in _with_examples(report):
        part["examples"] = [example for example in part["examples"] if not names_one(example)]
    (folder / lifecycle.REPORT).write_text(json.dumps(report, indent=1))
    with connect() as connection:
        connection.execute(
            "COPY (SELECT * REPLACE (CASE WHEN NOT list_contains($rows, row) THEN id END AS id, "
            "CASE WHEN NOT list_contains($rows, row) THEN name END AS name) FROM read_parquet($path) ORDER BY row) "
            "TO $target (FORMAT parquet)",
            {
                "rows": rows.tolist(),
                "path": str(source / lifecycle.ENTITIES),
                "target": str(folder / lifecycle.ENTITIES),
            },
        )
        connection.execute(
            "COPY (SELECT * FROM read_parquet($path) WHERE NOT list_contains($rows, row) "
            "AND NOT list_contains($ids, value) AND NOT list_contains($ids, key || ':' || value) ORDER BY ALL) "
            "TO $target (FORMAT parquet)",
            {
                "rows": rows.tolist(),
                "ids": list(ids),
                "path": str(source / lifecycle.VALUES),
                "target": str(folder / lifecycle.VALUES),
            },
        )
