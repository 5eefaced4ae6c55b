"""Import: CSV files in, one immutable Parquet file per batch out, bad rows set aside with their reasons.

The files of one call are stored together or not at all: each is loaded into a staging folder first, then all
are renamed into place and made visible in one catalog transaction. Which rows a training uses is decided
later, in `lucid.dataset`.
"""

import csv
import gzip
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import duckdb

from lucid.catalog import Catalog
from lucid.errors import InvalidRequest, LucidError, UnusableFile
from lucid.locks import forget_lock, work_lock
from lucid.schema import (
    ENTITY_COLUMNS,
    INTERACTION_COLUMNS,
    Batch,
    Kind,
    LoadedFile,
    OnError,
    RejectedRow,
    utc_now,
)
from lucid.settings import Settings

Progress = Callable[[float, str], None]
"""Told how far a piece of work has come: percent from 0 to 100 and a word on what is being done."""

SHOWN_ERRORS = 20
_COLUMNS: dict[Kind, tuple[str, ...]] = {"entities": ENTITY_COLUMNS, "interactions": INTERACTION_COLUMNS}
_MAX_RECORD_BYTES = 16_000_000
_HEADER_BYTES = 65_536
_CHUNK = 1 << 20

# A cell is checked in SQL. Each check: column, code, message, condition under which the cell is bad.
_NUL = "contains({0}, chr(0))"
_ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
_UNIX = r"^-?\d{1,12}(\.\d+)?$"
_TIME = rf"""CASE
    WHEN regexp_matches(timestamp, '{_UNIX}') THEN CASE WHEN abs(timestamp::DOUBLE) < 253402300800
        THEN to_timestamp(timestamp::DOUBLE) END
    WHEN regexp_matches(timestamp, '{_ISO}')
        THEN try_cast(regexp_replace(timestamp, '([T ]\d\d:\d\d)(Z|[+-].*)$', '\1:00\2') AS TIMESTAMPTZ)
END"""
_METADATA_CHECK = (
    "metadata",
    "invalid_metadata",
    "expected nothing or a JSON object",
    "metadata IS NOT NULL AND (CASE WHEN json_valid(metadata) THEN json_type(metadata) <> 'OBJECT' ELSE true END)",
)


def _text_checks(columns: Sequence[str], required: Sequence[str]) -> list[tuple[str, str, str, str]]:
    empty = [(name, "empty_value", "must not be empty", f"{name} IS NULL") for name in required]
    nul = [(name, "invalid_character", "must not hold NUL characters", _NUL.format(name)) for name in columns]
    return empty + nul


_CHECKS: dict[Kind, list[tuple[str, str, str, str]]] = {
    "entities": [
        *_text_checks(ENTITY_COLUMNS, ("id", "type")),
        _METADATA_CHECK,
        (
            "media_url",
            "invalid_url",
            "expected nothing or an http(s) URL",
            r"media_url IS NOT NULL AND NOT regexp_matches(media_url, '^(?i:https?)://[^\s/?#]+\S*$')",
        ),
    ],
    "interactions": [
        *_text_checks(INTERACTION_COLUMNS, ("type", "source_id", "target_id")),
        (
            "timestamp",
            "invalid_timestamp",
            "expected nothing, ISO 8601 or Unix seconds",
            f"timestamp IS NOT NULL AND ({_TIME}) IS NULL",
        ),
        _METADATA_CHECK,
    ],
}
_STORED: dict[Kind, str] = {
    "entities": "id, type, coalesce(name, '') AS name, metadata, media_url",
    "interactions": f"type, source_id, target_id, {_TIME} AS timestamp, metadata",
}


def check_tags(tags: Sequence[str]) -> list[str]:
    """Tags without repeats, in the given order; raises InvalidRequest for an unusable one."""
    for tag in tags:
        if not tag.strip() or len(tag) > 200 or "," in tag or not tag.isprintable():
            raise InvalidRequest(f"tag {tag!r} must be 1 to 200 printable characters without a comma")
    return list(dict.fromkeys(tag.strip() for tag in tags))


def new_batches(file_names: Sequence[str], tags: Sequence[str]) -> list[Batch]:
    """Batches that are about to be loaded, with fresh ids."""
    labels = check_tags(tags)
    return [
        Batch(batch_id=uuid.uuid4().hex, timestamp=utc_now(), tags=labels, status="running", file_name=name)
        for name in file_names
    ]


def import_files(
    settings: Settings,
    catalog: Catalog,
    files: Sequence[Path],
    batch_ids: Sequence[str],
    on_error: OnError = "set_aside",
    progress: Progress = lambda _percent, _doing: None,
) -> list[Batch]:
    """Load files into the batches that the catalog already lists as running; all of them or none.

    Raises UnusableFile where a file cannot be used, or, with on_error="abort", where any row is bad. The
    batches are then marked as failed and nothing of them is stored.
    """
    with ExitStack() as stack:
        for batch_id in batch_ids:
            stack.enter_context(work_lock(settings.home, f"import-{batch_id}"))
        try:
            loaded = []
            for number, (path, batch_id) in enumerate(zip(files, batch_ids, strict=True)):
                progress(100 * number / len(files), f"loading {path.name}")
                loaded.append(load_file(settings, path, _staging(settings.home, batch_id), on_error))
            _publish(settings.home, catalog, batch_ids, loaded)
        except BaseException as error:
            if isinstance(error, LucidError):
                catalog.fail_batches(batch_ids, error.message, error.code)
            else:
                catalog.fail_batches(batch_ids, "the import stopped unexpectedly; upload again", "import_stopped")
            for batch_id in batch_ids:
                remove_batch_files(settings.home, batch_id)
            raise
        progress(100, "done")
    for batch_id in batch_ids:
        forget_lock(settings.home, f"import-{batch_id}")
        shutil.rmtree(upload_folder(settings.home, batch_id), ignore_errors=True)
    return catalog.batches(batch_ids)


def read_kind(path: Path) -> Kind:
    """Tell from its header what a CSV file (or `.csv.gz`) holds; raises UnusableFile."""
    return _read_header(path)[0]


def load_file(settings: Settings, path: Path, folder: Path, on_error: OnError) -> LoadedFile:
    """Write `rows.parquet` and `rejects.parquet` of one file into a new folder.

    Rows keep the order of the file. Raises UnusableFile; the folder may then hold parts, for the caller to remove.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind, columns = _read_header(path)
    plain = _plain_file(path, folder, settings.max_file_bytes)
    with _connect(folder) as connection:
        connection.execute(_read_csv_sql(columns), {"path": str(plain)})
        _refuse_other_encodings(connection, path)
        (parsed,) = connection.execute("SELECT count(*) FROM parsed").fetchone() or (0,)
        _collect_rejects(connection, kind)
        errors = _first_errors(connection)
        (rejected,) = connection.execute("SELECT count(*) FROM rejects").fetchone() or (0,)
        (unparsed,) = connection.execute("SELECT count(*) FROM unparsed").fetchone() or (0,)
        _check_rows(path, settings.max_file_rows, parsed + unparsed, errors, on_error)
        good = "SELECT * FROM parsed ANTI JOIN bad_cells USING (record) ORDER BY record"
        connection.execute(
            f"COPY (SELECT {_STORED[kind]} FROM ({good})) TO $target (FORMAT parquet, COMPRESSION zstd)",
            {"target": str(folder / "rows.parquet")},
        )
        connection.execute(
            "COPY (FROM rejects ORDER BY line) TO $target (FORMAT parquet, COMPRESSION zstd)",
            {"target": str(folder / "rejects.parquet")},
        )
    if plain != path:
        plain.unlink()
    shutil.rmtree(folder / "spill", ignore_errors=True)
    return LoadedFile(kind, parsed + unparsed - rejected, rejected, errors)


def batch_folder(home: Path, batch_id: str) -> Path:
    return home / "batches" / batch_id


def remove_batch_files(home: Path, batch_id: str) -> None:
    """Remove everything on disk that belongs to a batch, wherever its import stopped."""
    for folder in (_staging(home, batch_id), batch_folder(home, batch_id), upload_folder(home, batch_id)):
        shutil.rmtree(folder, ignore_errors=True)
    forget_lock(home, f"import-{batch_id}")


def delete_batches(
    home: Path, catalog: Catalog, batch_ids: Sequence[str] | None, tags: Sequence[str] | None
) -> list[Batch]:
    """Delete the named batches, or those that carry all of the tags, and return them.

    Models that were trained with them stay as they are. Raises InvalidRequest without any condition, UnknownBatch
    for an unknown id.
    """
    if not batch_ids and not tags:
        raise InvalidRequest("name the batches to delete by batch_id or tags")
    batches = catalog.batches(batch_ids or None, tags or None)
    catalog.delete_batches([batch.batch_id for batch in batches])
    for batch in batches:
        remove_batch_files(home, batch.batch_id)
    return batches


def upload_folder(home: Path, batch_id: str) -> Path:
    """Where a file that came over HTTP waits for its import."""
    return home / "uploads" / batch_id


def _staging(home: Path, batch_id: str) -> Path:
    return home / "batches" / f".staging-{batch_id}"


def _publish(home: Path, catalog: Catalog, batch_ids: Sequence[str], loaded: Sequence[LoadedFile]) -> None:
    for batch_id in batch_ids:
        folder = _staging(home, batch_id)
        for file in folder.iterdir():
            fsync(file)
        folder.rename(batch_folder(home, batch_id))
    fsync(home / "batches")
    catalog.complete_batches(list(zip(batch_ids, loaded, strict=True)))


def fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Reading the file


def _read_header(path: Path) -> tuple[Kind, list[str]]:
    """Kind of a file and its column names in order; surplus columns get made-up names."""
    names = _header_names(path)
    found = [kind for kind, columns in _COLUMNS.items() if set(columns) <= set(names)]
    if not found:
        raise UnusableFile(_missing_columns(path, names), code="missing_column")
    if len(found) == 2:
        raise UnusableFile(
            f"{path.name}: the header has the columns of entities and of interactions; upload two files",
            code="mixed_kinds",
        )
    kind = found[0]
    repeated = sorted({name for name in _COLUMNS[kind] if names.count(name) > 1})
    if repeated:
        raise UnusableFile(
            f"{path.name}: column {', '.join(repeated)} stands twice in the header", code="duplicate_column"
        )
    return kind, [name if name in _COLUMNS[kind] else f"_surplus_{place}" for place, name in enumerate(names)]


def _header_names(path: Path) -> list[str]:
    opener = gzip.open if _is_gzip(path) else open
    try:
        with opener(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnusableFile(f"{path.name}: not a readable gzip file ({error})") from error
    if not head:
        raise UnusableFile(f"{path.name}: the file is empty", code="no_rows")
    if b"\x00" in head.split(b"\n", 1)[0]:
        raise UnusableFile(f"{path.name}: not a CSV file in UTF-8; export it as CSV with a comma as separator")
    try:
        text = head.split(b"\n", 1)[0].decode("utf-8-sig") if head.count(b"\n") else head.decode("utf-8-sig")
        return [name.strip() for name in next(csv.reader([text]), [])]
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path.name}: the header is not UTF-8; save the file as UTF-8", code="not_utf8") from error
    except csv.Error as error:
        raise UnusableFile(f"{path.name}: the header is not CSV ({error})") from error


def _missing_columns(path: Path, names: list[str]) -> str:
    best = max(_COLUMNS.values(), key=lambda columns: len(set(columns) & set(names)))
    missing = [name for name in best if name not in names]
    shown = ",".join(names)[:100]
    return (
        f"{path.name}: column {', '.join(missing)} is missing; found the header {shown!r}, expected "
        f"{','.join(ENTITY_COLUMNS)} or {','.join(INTERACTION_COLUMNS)}"
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _plain_file(path: Path, folder: Path, limit: int) -> Path:
    """The file itself, or its unpacked copy in the folder; raises UnusableFile over the limit."""
    too_big = UnusableFile(f"{path.name}: larger than the limit of {limit:,} bytes; split it", code="too_big")
    if not _is_gzip(path):
        if path.stat().st_size > limit:
            raise too_big
        return path
    plain = folder / "plain.csv"
    size = 0
    try:
        with gzip.open(path, "rb") as source, plain.open("wb") as target:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > limit:
                    raise too_big
                target.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnusableFile(f"{path.name}: not a readable gzip file ({error})") from error
    return plain


def _connect(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "temp_directory": str(folder / "spill"),
            "memory_limit": "1500MB",
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _read_csv_sql(columns: list[str]) -> str:
    # `columns` is positional, so it follows this file's header; all names in it are ours.
    struct = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
    kept = ", ".join(name for name in columns if not name.startswith("_surplus_"))
    return (
        f"CREATE TABLE parsed AS SELECT row_number() OVER () AS record, {kept} FROM read_csv($path, "
        f"columns = {{{struct}}}, header = true, delim = ',', quote = '\"', escape = '\"', auto_detect = false, "
        f"strict_mode = true, store_rejects = true, rejects_limit = 0, compression = 'none', "
        f"max_line_size = {_MAX_RECORD_BYTES})"
    )


def _refuse_other_encodings(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    row = connection.execute("SELECT min(line) FROM reject_errors WHERE error_type = 'INVALID ENCODING'").fetchone()
    if row and row[0] is not None:
        raise UnusableFile(f"{path.name}: line {row[0]} is not UTF-8; save the file as UTF-8", code="not_utf8")


# DuckDB counts records, the header being 1 and rejected ones included. A person looks for the line of the file,
# so line breaks inside quoted cells of earlier records are added.
_UNPARSED_SQL = """
CREATE TABLE unparsed AS
SELECT line - 1 AS number, line - 1 - row_number() OVER (ORDER BY line) AS records_before,
    row_number() OVER (ORDER BY line) AS nth, error_type, csv_line,
    length(csv_line) - length(replace(rtrim(csv_line, chr(10) || chr(13)), chr(10), '')) AS breaks
FROM (SELECT line, arg_min(error_type, column_idx) AS error_type, any_value(csv_line) AS csv_line
      FROM reject_errors GROUP BY line)
"""
_REJECTS_SQL = """
CREATE TABLE rejects AS
WITH broken AS (  -- parsed records that hold line breaks
    SELECT record, {breaks} AS breaks FROM parsed WHERE {breaks} > 0),
reached AS (  -- every bad record with what stands before it: parsed records, unparsed records
    SELECT record - 1 AS parsed_before,
        (SELECT count(*) FROM unparsed WHERE records_before < record) AS unparsed_before,
        column_name, code, message, value
    FROM bad_cells
    UNION ALL
    SELECT records_before, nth - 1, NULL, lower(replace(error_type, ' ', '_')),
        'the row could not be read: ' || lower(error_type), left(csv_line, 100)
    FROM unparsed)
SELECT (2 + parsed_before + unparsed_before
        + (SELECT coalesce(sum(breaks), 0) FROM broken WHERE record <= parsed_before)
        + (SELECT coalesce(sum(breaks), 0) FROM unparsed WHERE nth <= unparsed_before))::BIGINT AS line,
    column_name AS "column", code, message, left(value, 100) AS value
FROM reached
"""


def _collect_rejects(connection: duckdb.DuckDBPyConnection, kind: Kind) -> None:
    """Build the tables `unparsed`, `bad_cells` (first reason of each bad record) and `rejects`."""
    reasons = " ".join(
        f"WHEN {condition} "
        f"THEN {{'column_name': '{column}', 'code': '{code}', 'message': '{message}', 'value': {column}}}"
        for column, code, message, condition in _CHECKS[kind]
    )
    connection.execute(_UNPARSED_SQL)
    connection.execute(
        f"CREATE TABLE bad_cells AS SELECT record, reason.* FROM "
        f"(SELECT record, CASE {reasons} END AS reason FROM parsed) WHERE reason IS NOT NULL"
    )
    cells = " + ".join(f"coalesce(length({name}) - length(replace({name}, chr(10), '')), 0)" for name in _COLUMNS[kind])
    connection.execute(_REJECTS_SQL.format(breaks=f"({cells})"))


def _first_errors(connection: duckdb.DuckDBPyConnection) -> list[RejectedRow]:
    rows = connection.execute(
        'SELECT line, "column", code, message, value FROM rejects ORDER BY line LIMIT ?', [SHOWN_ERRORS]
    ).fetchall()
    return [
        RejectedRow(line=line, column=column, code=code, message=message, value=value)
        for line, column, code, message, value in rows
    ]


def _check_rows(path: Path, limit: int, rows: int, errors: list[RejectedRow], on_error: OnError) -> None:
    if rows == 0:
        raise UnusableFile(f"{path.name}: the file has a header but no rows", code="no_rows")
    if rows > limit:
        raise UnusableFile(f"{path.name}: {rows:,} rows are more than the limit of {limit:,}; split it", code="too_big")
    if errors and on_error == "abort":
        first = errors[0]
        where = f"line {first.line}" + (f", column {first.column}" if first.column else "")
        raise UnusableFile(f"{path.name}: {where}: {first.message}, found {first.value!r}", code="bad_row")
