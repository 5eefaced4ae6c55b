"""Loading one CSV file: good rows into a Parquet file, bad rows into another with line, column and reason.

DuckDB reads, checks and writes in one pass. Its reader leaves traps that are closed here: columns count by position and
not by name, a missing header swallows the first row, NUL passes, a name with `*` or `[` is a pattern, and it counts
records where a person looks for lines.
"""

import csv
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from lucid.data.csv_file import (
    MAX_COLUMNS,
    MAX_MISFITS,
    Plain,
    check_misfits,
    check_records,
    first_undecodable_line,
    read_head,
    records,
    unpack,
)
from lucid.data.timestamp_hints import EXPECTED, INVALID_MESSAGE
from lucid.data.timestamps import FUTURE, FUTURE_MESSAGE, INVALID, TIME
from lucid.errors import UnusableFile
from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS, LoadedFile, RejectedRow
from lucid.schema.fields import FileType, OnError
from lucid.settings import Settings
from lucid.store.duck import connect, copy, count
from lucid.store.files import make_folder

Places = NDArray[np.int64]

ROWS, REJECTS = "rows.parquet", "rejects.parquet"
SHOWN_ERRORS = 20
SHOWN_VALUE = 100
_COLUMNS: dict[FileType, tuple[str, ...]] = {"entities": ENTITY_COLUMNS, "interactions": INTERACTION_COLUMNS}
_MAX_RECORD_BYTES = 4_000_000
_REJECTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class _Check:
    """A condition, in SQL, under which a cell is bad; `message_sql` is of a message that depends on the cell."""

    column: str
    code: str
    message: str
    condition: str
    message_sql: str | None = None

    @property
    def said(self) -> str:
        """The message, in SQL."""
        return self.message_sql or f"'{self.message}'"


_METADATA_LENGTH = 100_000
# DuckDB lets NaN, Infinity and commas before a closing bracket pass; what stands in strings does not count.
_LENIENT = r",\s*[}\]]|NaN|Inf"
_METADATA = _Check(
    "metadata",
    "invalid_metadata",
    f"expected nothing or a JSON object of at most {_METADATA_LENGTH:,} characters",
    rf"""metadata IS NOT NULL AND NOT (
        starts_with(ltrim(metadata, chr(32) || chr(9) || chr(10) || chr(13)), '{{')
        AND strlen(metadata) <= {_METADATA_LENGTH} AND json_valid(metadata)
        AND CASE WHEN regexp_matches(metadata, '{_LENIENT}') THEN NOT regexp_matches(
            regexp_replace(metadata, '"(\\.|[^"\\])*"', '""', 'g'), '{_LENIENT}') ELSE true END)""",
)
_URL = _Check(
    "media_url",
    "invalid_url",
    "expected nothing or an http(s) URL",
    r"media_url IS NOT NULL AND NOT regexp_full_match(media_url, '(?i:https?)://[^\s/?#]+\S*')",
)
_TIMESTAMPS = (
    _Check("timestamp", "invalid_timestamp", EXPECTED, INVALID, INVALID_MESSAGE),
    _Check("timestamp", "future_timestamp", "the time is in the future", FUTURE, FUTURE_MESSAGE),
)


def _not_empty(*columns: str) -> list[_Check]:
    return [_Check(name, "empty_value", "must not be empty", f"{name} IS NULL") for name in columns]


_CHECKS: dict[FileType, list[_Check]] = {
    "entities": [*_not_empty("id", "type"), _METADATA, _URL],
    "interactions": [*_not_empty("type", "source_id", "target_id"), *_TIMESTAMPS, _METADATA],
}
_STORED: dict[FileType, str] = {
    "entities": "id, type, coalesce(name, '') AS name, metadata, media_url",
    "interactions": f"type, source_id, target_id, {TIME} AS timestamp, metadata",
}


def read_file_type(path: Path) -> FileType:
    """Tell from its header what a CSV file (or `.csv.gz`) holds; raises UnusableFile."""
    return _read_header(path)[0]


def load_file(settings: Settings, path: Path, folder: Path, on_error: OnError) -> LoadedFile:
    """Write `rows.parquet` and `rejects.parquet` of one file into a new folder.

    Rows keep the order of the file; times are UTC. `rows.parquet` has the columns of its file_type and a column
    `reason` that is null throughout. Raises UnusableFile; the folder may then hold parts, for the caller to remove.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    file_type, columns = _read_header(path)
    plain = unpack(path, folder / "plain.csv", settings)
    check_records(path, plain, settings)
    with connect(spill=folder / "spill", memory_limit="1GB", search_path=folder) as connection:
        _parse(connection, file_type, columns, folder, plain, path)
        connection.execute("CREATE VIEW parsed AS FROM read_parquet('rows.parquet', file_row_number = true)")
        _refuse_other_encodings(connection, path)
        connection.execute(_UNPARSED_SQL)
        rows = count(connection, "parsed") + count(connection, "unparsed")
        _check_rows(path, settings.max_file_rows, rows)
        bad_cells = _collect_rejects(connection, plain, rows)
        rejected = count(connection, "rejects")
        errors = _first_errors(connection)
        if errors and on_error == "abort":
            raise _bad_row(path, errors[0])
        if bad_cells:
            good = "SELECT * EXCLUDE (reason, file_row_number), NULL AS reason FROM parsed WHERE reason IS NULL"
            copy(connection, good, folder / "good.parquet")
            (folder / "good.parquet").replace(folder / ROWS)
        copy(connection, "FROM rejects ORDER BY line", folder / REJECTS)
    plain.path.unlink()
    shutil.rmtree(folder / "spill", ignore_errors=True)
    return LoadedFile(file_type, rows - rejected, rejected, errors)


# The header and the bytes


def _read_header(path: Path) -> tuple[FileType, list[str]]:
    """FileType of a file and its column names in order; surplus columns get made-up names."""
    names = _header_names(path)
    found = [file_type for file_type, columns in _COLUMNS.items() if set(columns) <= set(names)]
    if not found:
        raise UnusableFile(_missing_columns(path, names), code="missing_column")
    if len(found) == 2:
        raise UnusableFile(
            f"{path.name}: the header has the columns of entities and of interactions; upload two files",
            code="mixed_kinds",
        )
    file_type = found[0]
    repeated = sorted({name for name in _COLUMNS[file_type] if names.count(name) > 1})
    if repeated:
        raise UnusableFile(f"{path.name}: the header has {', '.join(repeated)} twice", code="duplicate_column")
    return file_type, [name if name in _COLUMNS[file_type] else f"_surplus_{place}" for place, name in enumerate(names)]


def _header_names(path: Path) -> list[str]:
    head = read_head(path)
    if not head:
        raise UnusableFile(f"{path.name}: the file is empty", code="no_rows")
    line = head.partition(b"\n")[0]
    if b"\x00" in line:
        raise UnusableFile(f"{path.name}: not a CSV file in UTF-8; export it as CSV with a comma as separator")
    try:
        names = [name.strip() for name in next(csv.reader([line.decode("utf-8-sig")]), [])]
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path.name}: the header is not UTF-8; save the file as UTF-8", code="not_utf8") from error
    except csv.Error as error:
        raise UnusableFile(f"{path.name}: the header is not CSV ({error})") from error
    if len(names) > MAX_COLUMNS:
        found = f"{len(names):,} columns are more than the limit of {MAX_COLUMNS:,}"
        raise UnusableFile(f"{path.name}: {found}; leave out those that Lucid does not read", code="too_big")
    return names


def _missing_columns(path: Path, names: list[str]) -> str:
    best = max(_COLUMNS.values(), key=lambda columns: len(set(columns) & set(names)))
    missing = [name for name in best if name not in names]
    shown = ",".join(names)[:100]
    return (
        f"{path.name}: column {', '.join(missing)} is missing; found the header {shown!r}, expected "
        f"{','.join(ENTITY_COLUMNS)} or {','.join(INTERACTION_COLUMNS)}"
    )


# What DuckDB does


def _parse_sql(file_type: FileType, columns: Sequence[str], *, has_nul: bool, unread: str) -> str:
    """Read, convert and check: the stored columns and, where a cell is bad, the `reason`.

    `unread` says what happens to rows that cannot be read.
    """
    checks, stored = list(_CHECKS[file_type]), _STORED[file_type]
    if has_nul:
        message = "must not hold NUL characters"
        named = [name for name in _COLUMNS[file_type] if name != "name"]
        checks += [_Check(name, "invalid_character", message, f"contains({name}, chr(0))") for name in named]
        # In a name NUL is a letter that was lost on the way; it is shown as such.
        stored = stored.replace("coalesce(name, '')", "coalesce(replace(name, chr(0), chr(65533)), '')")
    # `columns` is positional, so it follows this file's header; all names in it are ours.
    struct = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
    reasons = " ".join(
        f"WHEN {check.condition} THEN {{'column_name': '{check.column}', 'code': '{check.code}', "
        f"'message': {check.said}, 'value': left({check.column}, {SHOWN_VALUE})}}"
        for check in checks
    )
    return (
        f"SELECT {stored}, CASE {reasons} END AS reason FROM read_csv($path, columns = {{{struct}}}, "
        "header = true, delim = ',', quote = '\"', escape = '\"', auto_detect = false, strict_mode = true, "
        f"{unread}, compression = 'none', max_line_size = {_MAX_RECORD_BYTES})"
    )


def _parse(
    connection: duckdb.DuckDBPyConnection,
    file_type: FileType,
    columns: Sequence[str],
    folder: Path,
    plain: Plain,
    path: Path,
) -> None:
    """Write `rows.parquet`; raises UnusableFile where DuckDB's reader gives up on the file as a whole."""

    def write_rows(unread: str) -> None:
        query = _parse_sql(file_type, columns, has_nul=plain.has_nul, unread=unread)
        copy(connection, query, folder / ROWS, {"path": str(plain.path)})

    try:
        if plain.breaks * len(columns) > MAX_MISFITS:
            with suppress(duckdb.Error):  # what cannot be read, and how much of it, is found out below
                write_rows("store_rejects = false")
                connection.execute(_NO_REJECTS_SQL)
                return
            _refuse_undecodable(plain, path)
            check_misfits(path, plain, len(columns))
        write_rows("store_rejects = true, rejects_limit = 0")
    except (duckdb.InvalidInputException, duckdb.InternalException) as error:
        _refuse_undecodable(plain, path)
        raise UnusableFile(
            f"{path.name}: not readable as CSV; cells with line breaks or quotes must be quoted"
        ) from error


def _refuse_undecodable(plain: Plain, path: Path) -> None:
    line = first_undecodable_line(plain.path)
    if line:
        raise UnusableFile(f"{path.name}: line {line} is not UTF-8; save the file as UTF-8", code="not_utf8")


def _refuse_other_encodings(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    row = connection.execute("SELECT min(line) FROM reject_errors WHERE error_type = 'INVALID ENCODING'").fetchone()
    if row and row[0] is not None:
        raise UnusableFile(f"{path.name}: line {row[0]} is not UTF-8; save the file as UTF-8", code="not_utf8")


def _check_rows(path: Path, limit: int, rows: int) -> None:
    if rows == 0:
        raise UnusableFile(f"{path.name}: the file has a header but no rows", code="no_rows")
    if rows > limit:
        raise UnusableFile(f"{path.name}: {rows:,} rows are more than the limit of {limit:,}; split it", code="too_big")


def _bad_row(path: Path, error: RejectedRow) -> UnusableFile:
    where = f"line {error.line}" + (f", column {error.column}" if error.column else "")
    return UnusableFile(f"{path.name}: {where}: {error.message}, found {error.value!r}", code="bad_row")


_NO_REJECTS_SQL = "CREATE TABLE reject_errors (line BIGINT, column_idx BIGINT, error_type VARCHAR, csv_line VARCHAR)"
# A bad line can give several entries, one for each missing column; `record` counts the header and blank lines too.
_UNPARSED_SQL = """
CREATE TABLE unparsed AS
SELECT line AS record, arg_min(error_type, coalesce(column_idx, -1)) AS error_type,
    any_value(left(csv_line, 1000)) AS csv_line
FROM reject_errors GROUP BY line ORDER BY line
"""
_SHOW_REJECTS = 'SELECT line, "column", code, message, value'
_REJECTS_SQL = f"""
CREATE TABLE rejects AS
SELECT line, reason.column_name AS "column", reason.code AS code, reason.message AS message, reason.value AS value
FROM parsed JOIN located_parsed ON file_row_number = place
UNION ALL
SELECT line, NULL, lower(replace(error_type, ' ', '_')), 'the row could not be read: ' || lower(error_type),
    left(ltrim(csv_line, chr(13) || chr(10)), {SHOWN_VALUE})
FROM unparsed JOIN located_unparsed ON record = place
"""


def _collect_rejects(connection: duckdb.DuckDBPyConnection, plain: Plain, rows: int) -> int:
    """Create the table `rejects`; returns how many rows were read but have a bad cell."""
    bad = connection.execute("SELECT file_row_number FROM parsed WHERE reason IS NOT NULL ORDER BY 1").fetchnumpy()
    unread = connection.execute("SELECT record FROM unparsed ORDER BY 1").fetchnumpy()
    parsed, unparsed = (np.asarray(next(iter(found.values())), dtype=np.int64) for found in (bad, unread))
    lines = _find_lines(plain, parsed, unparsed, rows) if len(parsed) + len(unparsed) else (parsed, unparsed)
    for name, places, found in (("parsed", parsed, lines[0]), ("unparsed", unparsed, lines[1])):
        connection.register(f"located_{name}", {"place": places, "line": found})
    connection.execute(_REJECTS_SQL)
    return len(parsed)


def _find_lines(plain: Plain, parsed: Places, unparsed: Places, rows: int) -> tuple[Places, Places]:
    """The lines on which bad records start, the header being line 1.

    `parsed` are places among the records that were read, from 0; `unparsed` are numbers of those that were not, the
    header being 1. Both rise.
    """
    with plain.path.open("rb") as file:
        file.seek(-1, 2)
        ended = file.read(1) == b"\n"
    if plain.breaks + (not ended) != rows + 1:
        return _scan_lines(plain.path, parsed, unparsed)
    # One line for each record: neither blank lines nor line breaks in quotes.
    read_before = unparsed - 2 - np.arange(len(unparsed))
    return parsed + 2 + np.searchsorted(read_before, parsed, side="right"), unparsed


def _scan_lines(plain: Path, parsed: Places, unparsed: Places) -> tuple[Places, Places]:
    """The lines of bad records in any file, by reading it once more, record by record."""
    wanted, unread = iter([*parsed.tolist(), -1]), set(unparsed.tolist())
    found: tuple[list[int], list[int]] = ([], [])
    place, next_wanted = 0, next(wanted)
    for record, (line, is_row) in enumerate(records(plain), start=1):
        if record in unread:
            found[1].append(line)
        elif is_row and record > 1:
            if place == next_wanted:
                found[0].append(line)
                next_wanted = next(wanted)
            place += 1
    # Where quotes are broken the two readers may see different records; the last line known is then the nearest.
    missing = (len(parsed) - len(found[0]), len(unparsed) - len(found[1]))
    last = max([1, *found[0], *found[1]])
    return np.array(found[0] + [last] * missing[0], np.int64), np.array(found[1] + [last] * missing[1], np.int64)


def _first_errors(connection: duckdb.DuckDBPyConnection) -> list[RejectedRow]:
    found = connection.execute(f"{_SHOW_REJECTS} FROM rejects ORDER BY line LIMIT {SHOWN_ERRORS}")
    return [_rejected_row(row) for row in found.fetchall()]


def read_rejects(path: Path) -> Iterator[list[RejectedRow]]:
    """The rows of a `rejects.parquet`, by line, in blocks."""
    with connect() as connection:
        found = connection.execute(f"{_SHOW_REJECTS} FROM read_parquet($path) ORDER BY line", {"path": str(path)})
        while rows := found.fetchmany(_REJECTS_AT_ONCE):
            yield [_rejected_row(row) for row in rows]


def _rejected_row(row: Sequence[Any]) -> RejectedRow:
    line, column, code, message, value = row
    return RejectedRow(line=line, column=column, code=code, message=message, value=value)
