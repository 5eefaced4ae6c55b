"""Loading one CSV file: good rows into a Parquet file, bad rows into another with line, column and reason.

DuckDB reads, checks and writes in one pass. Its reader leaves traps that are closed here: columns count by position and
not by name, a missing header swallows the first row, NUL passes, a name with `*` or `[` is a pattern, and where quotes
or line breaks are odd it may lose rows. So `lucid.data.csv_records` finds the records, and as many have to be read.
"""

import csv
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from lucid.data.blanks import blank_warnings
from lucid.data.csv_file import SHOWN_VALUE, Plain, check_lines, first_undecodable_line, read_head, unpack
from lucid.data.csv_records import Counted, Dialect, Misfit, TakenApart, count_records, record_lines, take_apart
from lucid.data.timestamp_hints import EXPECTED, INVALID_MESSAGE
from lucid.data.timestamps import FUTURE, FUTURE_MESSAGE, INVALID, TIME, time_warnings
from lucid.data.type_changes import find_conflicts
from lucid.errors import UnusableFile
from lucid.schema.batches import (
    ENTITY_COLUMNS,
    INTERACTION_COLUMNS,
    TYPE_COLUMNS,
    LoadedFile,
    Naming,
    RejectedRow,
)
from lucid.schema.fields import FileType, OnError
from lucid.settings import Settings
from lucid.store.duck import connect, copy, count
from lucid.store.files import make_folder

Places = NDArray[np.int64]
_UNREADABLE = (duckdb.InvalidInputException, duckdb.InternalException)

ROWS, REJECTS = "rows.parquet", "rejects.parquet"
SHOWN_ERRORS = 20
TOLD_ERRORS = 3
"""Rows that are told of a file that has no other."""
_COLUMNS: dict[FileType, tuple[str, ...]] = {"entities": ENTITY_COLUMNS, "interactions": INTERACTION_COLUMNS}
_OPTIONAL: dict[FileType, tuple[str, ...]] = {"entities": (), "interactions": TYPE_COLUMNS}
_REJECTS_AT_ONCE = 10_000
SEPARATORS = (",", ";", "\t", "|")
_SHOWN_SEPARATORS = "comma, semicolon, tab, |"
_DECLARATION = re.compile(rb'"?sep=(.)"?[,;\t|]*', re.DOTALL | re.IGNORECASE)


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


_MOST = "<most>"
"""Stands for the longest metadata, which is a setting."""
# DuckDB lets NaN, Infinity and commas before a closing bracket pass; what stands in strings does not count.
_LENIENT = r",\s*[}\]]|NaN|Inf"
_METADATA = _Check(
    "metadata",
    "invalid_metadata",
    f"expected nothing or a JSON object of at most {_MOST} characters",
    rf"""metadata IS NOT NULL AND NOT (
        starts_with(ltrim(metadata, chr(32) || chr(9) || chr(10) || chr(13)), '{{')
        AND length(metadata) <= {_MOST} AND json_valid(metadata)
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
    "interactions": "type, source_id, target_id, moment AS timestamp, metadata",
}


@dataclass(frozen=True)
class _Header:
    """What the first lines of a file say: what it holds, its columns in order, what stands between values.

    Columns that nobody reads have made-up names.
    """

    file_type: FileType
    columns: list[str]
    dialect: Dialect
    naming: Naming

    def type_of(self, end: str) -> tuple[str | None, dict[str, str]]:
        """The type of an end of an interaction, `source` or `target`, in SQL with its values; None where unknown.

        A type that the file names goes before the one of the call.
        """
        column, given = f"{end}_type", getattr(self.naming, f"{end}_type")
        parts = [column] * (column in self.columns) + [f"${column}"] * (given is not None)
        return (f"coalesce({', '.join(parts)})" if parts else None), ({column: given} if given is not None else {})


PLAIN = Naming()
"""Ids are what the file says."""


def read_file_type(path: Path, settings: Settings, naming: Naming = PLAIN) -> FileType:
    """Tell from its header what a CSV file (or `.csv.gz`) holds; raises UnusableFile."""
    return _read_header(path, settings, naming).file_type


def load_file(settings: Settings, path: Path, folder: Path, on_error: OnError, naming: Naming = PLAIN) -> LoadedFile:
    """Write `rows.parquet` and `rejects.parquet` of one file into a new folder.

    Rows keep the order of the file; times are UTC. `rows.parquet` has the columns of its file_type and a column
    `reason` that is null throughout; interactions of which a type of their ends is known also have `source_type` and
    `target_type`, but where the ids themselves say so, as they do with a namespace. Raises UnusableFile; the folder may
    then hold parts, for the caller to remove.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    header = _read_header(path, settings, naming)
    plain = unpack(path, folder / "plain.csv", settings)
    counted = count_records(plain, header.dialect)
    check_lines(path, settings, counted.rows, counted.empty)
    with connect(spill=folder / "spill", memory_limit="1GB", search_path=folder) as connection:
        source = _parse(connection, settings, header, plain, counted, path)
        connection.execute("CREATE VIEW parsed AS FROM read_parquet('rows.parquet', file_row_number = true)")
        _create_misfits(connection, source.misfits)
        rows = count(connection, "parsed") + len(source.misfits)
        if rows == 0:
            raise UnusableFile(f"{path.name}: the file has a header but no rows", code="no_rows")
        bad = _collect_rejects(connection, source, header.file_type)
        rejected = count(connection, "rejects")
        errors = _first_errors(connection)
        if errors and on_error == "abort":
            raise _bad_row(path, errors[0])
        if rejected == rows:
            raise _no_good_rows(path, rows, errors)
        if bad:
            copy(connection, _GOOD_SQL, folder / "good.parquet")
            (folder / "good.parquet").replace(folder / ROWS)
        copy(connection, "FROM rejects ORDER BY line", folder / REJECTS)
        warnings = blank_warnings(connection, header.file_type)
        if header.file_type == "interactions":
            warnings += time_warnings(connection, "read_parquet('rows.parquet')")
    for left in {plain.path, source.path}:
        left.unlink()
    shutil.rmtree(folder / "spill", ignore_errors=True)
    return LoadedFile(header.file_type, rows - rejected, rejected, errors, warnings)


# The header


def _read_header(path: Path, settings: Settings, naming: Naming) -> _Header:
    dialect, line = _read_declaration(path)
    names = _header_names(path, line, dialect)
    found = [file_type for file_type, columns in _COLUMNS.items() if set(columns) <= set(names)]
    if not found:
        raise UnusableFile(_missing_columns(path, names), code="missing_column")
    if len(found) == 2:
        raise UnusableFile(
            f"{path.name}: the header has the columns of entities and of interactions; upload two files",
            code="mixed_kinds",
        )
    if len(names) > settings.max_file_columns:
        limit = f"the limit of {settings.max_file_columns:,} (LUCID_MAX_FILE_COLUMNS)"
        raise UnusableFile(
            f"{path.name}: {len(names):,} columns are more than {limit}; leave out those that Lucid does not read",
            code="too_big",
        )
    file_type = found[0]
    read = (*_COLUMNS[file_type], *_OPTIONAL[file_type])
    repeated = sorted({name for name in read if names.count(name) > 1})
    if repeated:
        raise UnusableFile(f"{path.name}: the header has {', '.join(repeated)} twice", code="duplicate_column")
    columns = [name if name in read else f"_surplus_{place}" for place, name in enumerate(names)]
    header = _Header(file_type, columns, dialect, naming)
    untyped = [end for end in ("source", "target") if header.type_of(end)[0] is None]
    if file_type == "interactions" and naming.namespace and untyped:
        missing = ", ".join(f"{end}_type" for end in untyped)
        raise UnusableFile(
            f"{path.name}: with namespace=true an id means nothing without its type, and {missing} is missing; give it "
            "as a column of the file or with the call",
            code="missing_column",
        )
    return header


def _read_declaration(path: Path) -> tuple[Dialect, bytes]:
    """What stands between the values, and the line of the header.

    Spreadsheets say it in a line of its own, `sep=;`. Elsewhere it is the one of four that makes the columns' names of
    the header; the comma where none does.
    """
    lines = read_head(path)
    if not lines:
        raise UnusableFile(f"{path.name}: the file is empty", code="no_rows")
    declared = _DECLARATION.fullmatch(lines[0])
    if declared:
        separator = declared.group(1).decode("latin-1")
        if separator not in SEPARATORS:
            raise UnusableFile(f"{path.name}: sep={separator} in line 1: expected one of {_SHOWN_SEPARATORS}")
        return Dialect(separator, skipped=1), (*read_head(path, 2), b"")[1]
    for separator in SEPARATORS:
        names = {name.strip(b' "') for name in lines[0].split(separator.encode())}
        if any({column.encode() for column in columns} <= names for columns in _COLUMNS.values()):
            return Dialect(separator), lines[0]
    return Dialect(), lines[0]


def _header_names(path: Path, line: bytes, dialect: Dialect) -> list[str]:
    if b"\x00" in line:
        raise UnusableFile(f"{path.name}: not a CSV file in UTF-8; export it as CSV in UTF-8")
    try:
        return [name.strip() for name in next(csv.reader([line.decode()], delimiter=dialect.separator), [])]
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
        f"{','.join(ENTITY_COLUMNS)} or {','.join(INTERACTION_COLUMNS)}, separated by one of {_SHOWN_SEPARATORS}"
    )


# What DuckDB does


def _parse_sql(settings: Settings, header: _Header, reading: str, *, has_nul: bool) -> str:
    """Read, convert and check: the stored columns and, where a cell is bad, the `reason`.

    `reading` are the options that the form of the file asks for.
    """
    # `columns` is positional, so it follows this file's header; all names in it are ours.
    struct = ", ".join(f"'{name}': 'VARCHAR'" for name in header.columns)
    rows = (
        f"read_csv($path, columns = {{{struct}}}, "
        f"delim = '{header.dialect.separator}', quote = '\"', escape = '\"', auto_detect = false, strict_mode = true, "
        f"{reading}, compression = 'none', max_line_size = {settings.max_row_bytes})"
    )
    return _checked_sql(settings, header, rows, has_nul=has_nul)


def check_sql(settings: Settings, file_type: FileType, rows: str, *, in_words: bool) -> str:
    """Convert and check rows as those of a file are: the stored columns, types of both ends included, and the `reason`.

    `rows` is what may follow FROM, with every column that such a file may have, as text; empty ones are NULL. Without
    `in_words`, messages do not depend on the cell: DuckDB takes 20 ms to prepare those that do, also for a single row.
    """
    columns = [*_COLUMNS[file_type], *_OPTIONAL[file_type]]
    header = _Header(file_type, columns, Dialect(), PLAIN)
    return _checked_sql(settings, header, rows, has_nul=True, in_words=in_words)


def _checked_sql(settings: Settings, header: _Header, rows: str, *, has_nul: bool, in_words: bool = True) -> str:
    """Convert and check rows: the stored columns and, where a cell is bad, the `reason`."""
    file_type, most = header.file_type, settings.max_metadata_characters
    checks, stored = [*_CHECKS[file_type], *_type_checks(header)], _stored(header)
    if not in_words:
        checks = [replace(check, message_sql=None) for check in checks]
    if has_nul:
        message = "must not hold NUL characters"
        known = (*_COLUMNS[file_type], *_OPTIONAL[file_type])  # in whatever order the file has them
        named = [name for name in known if name != "name" and name in header.columns]
        checks += [_Check(name, "invalid_character", message, f"contains({name}, chr(0))") for name in named]
        # In a name NUL is a letter that was lost on the way; it is shown as such.
        stored = stored.replace("coalesce(name, '')", "coalesce(replace(name, chr(0), chr(65533)), '')")
    reasons = " ".join(
        f"WHEN {check.condition.replace(_MOST, str(most))} THEN {{'column_name': '{check.column}', "
        f"'code': '{check.code}', 'message': {check.said.replace(_MOST, f'{most:,}')}, "
        f"'value': left({check.column}, {SHOWN_VALUE})}}"
        for check in checks
    )
    found = f", {TIME} AS moment" if file_type == "interactions" else ""
    return f"SELECT {stored}, CASE {reasons} END AS reason FROM (SELECT *{found} FROM {rows})"


def _stored(header: _Header) -> str:
    """The stored columns of a file, in SQL: with a namespace ids carry their type, or else types stand beside them."""
    stored = _STORED[header.file_type]
    if header.file_type == "entities":
        return stored.replace("id,", "type || ':' || id AS id,", 1) if header.naming.namespace else stored
    types = {end: header.type_of(end)[0] for end in ("source", "target")}
    if header.naming.namespace:
        for end, of in types.items():
            stored = stored.replace(f"{end}_id", f"{of} || ':' || {end}_id AS {end}_id")
        return stored
    if any(types.values()):
        stored += "".join(f", {of or 'NULL::VARCHAR'} AS {end}_type" for end, of in types.items())
    return stored


def _type_checks(header: _Header) -> list[_Check]:
    """With a namespace every id needs a type, of which one can tell where it ends."""
    if not header.naming.namespace:
        return []
    of = {"type": "type"} if header.file_type == "entities" else {}
    if header.file_type == "interactions":
        of = {f"{end}_type": header.type_of(end)[0] or "NULL" for end in ("source", "target")}
    unclear = "must not hold a colon with namespace=true"
    checks = []
    for name, expression in of.items():
        column = name if name in header.columns else name.replace("_type", "_id")
        checks += [
            _Check(column, "empty_value", f"{name} must not be empty with namespace=true", f"{expression} IS NULL"),
            _Check(column, "invalid_character", f"{name} {unclear}", f"contains({expression}, ':')"),
        ]
    return checks


@dataclass(frozen=True)
class _Source:
    """The file that was parsed, and what was set aside before; `apart` is None where that is the whole file.

    It `has_spread` where it has other lines than one for each record: empty ones, or line breaks in quotes.
    """

    path: Path
    dialect: Dialect
    has_spread: bool
    apart: TakenApart | None = None

    @property
    def misfits(self) -> list[Misfit]:
        return self.apart.misfits if self.apart else []


def _parse(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    header: _Header,
    plain: Plain,
    counted: Counted,
    path: Path,
) -> _Source:
    """Write `rows.parquet`, one row for each record that can be read; raises UnusableFile.

    A file whose records are plain is read as it is. If the reader finds a row that it cannot read, or another number of
    rows, the file is taken apart, and so is any other.
    """

    def rows_of(source: Path, reading: str) -> int:
        query = _parse_sql(settings, header, reading, has_nul=plain.has_nul)
        copy(connection, query, plain.path.parent / ROWS, {"path": str(source), **types})
        return count(connection, "read_parquet('rows.parquet')")

    types = header.type_of("source")[1] | header.type_of("target")[1] if header.file_type == "interactions" else {}
    # A thread that begins in the middle of a file has to guess whether it stands within quotes.
    parallel = f"parallel = {str(not counted.quoted_breaks).lower()}"
    if counted.plain:
        with suppress(*_UNREADABLE):
            if rows_of(plain.path, f"header = true, {parallel}") == counted.rows:
                return _Source(plain.path, header.dialect, counted.quoted_breaks or counted.empty > 0)
    _refuse_undecodable(plain, path)
    apart = take_apart(path, plain, header.dialect, len(header.columns), settings, plain.path.parent / "apart.csv")
    try:
        found = rows_of(apart.path, "header = false, new_line = '\\n', parallel = false")
    except _UNREADABLE as error:
        raise UnusableFile(f"{path.name}: not readable as CSV; export it as CSV in UTF-8") from error
    if found != apart.good:
        raise UnusableFile(
            f"{path.name}: {apart.good:,} rows were counted and {found:,} could be read; export it as CSV in UTF-8"
        )
    return _Source(apart.path, header.dialect, apart.lines > apart.good, apart)


def _refuse_undecodable(plain: Plain, path: Path) -> None:
    line = first_undecodable_line(plain.path)
    if line:
        raise UnusableFile(f"{path.name}: line {line} is not UTF-8; save the file as UTF-8", code="not_utf8")


def _bad_row(path: Path, error: RejectedRow) -> UnusableFile:
    return UnusableFile(f"{path.name}: {_told(error)}", code="bad_row")


def _no_good_rows(path: Path, rows: int, errors: Sequence[RejectedRow]) -> UnusableFile:
    first = "; ".join(_told(error) for error in errors[:TOLD_ERRORS])
    none = "its only row is bad" if rows == 1 else f"none of its {rows:,} rows is good"
    return UnusableFile(f"{path.name}: {none}, so nothing was stored: {first}", code="no_good_rows")


def _told(error: RejectedRow) -> str:
    where = f"line {error.line}" + (f", column {error.column}" if error.column else "")
    return f"{where}: {error.message}, found {error.value!r}"


_SHOW_REJECTS = 'SELECT line, "column", code, message, value'
_REJECTS_SQL = """
CREATE TABLE rejects AS
SELECT line, reason.column_name AS "column", reason.code AS code, reason.message AS message, reason.value AS value
FROM bad JOIN located USING (place)
UNION ALL FROM misfits
"""
_BAD_SQL = "CREATE TABLE bad AS SELECT file_row_number AS place, reason FROM parsed WHERE reason IS NOT NULL"
_GOOD_SQL = """
SELECT * EXCLUDE (reason, file_row_number), NULL AS reason FROM parsed
WHERE reason IS NULL AND file_row_number NOT IN (SELECT place FROM bad) ORDER BY file_row_number
"""


def _create_misfits(connection: duckdb.DuckDBPyConnection, misfits: Sequence[Misfit]) -> None:
    """Create the table `misfits`, with the columns of rejects."""
    connection.execute(
        'CREATE TABLE misfits AS SELECT unnest($lines::BIGINT[]) AS line, NULL::VARCHAR AS "column", '
        "unnest($codes::VARCHAR[]) AS code, unnest($messages::VARCHAR[]) AS message, "
        "unnest($values::VARCHAR[]) AS value",
        {
            "lines": [misfit.line for misfit in misfits],
            "codes": [misfit.code for misfit in misfits],
            "messages": [misfit.message for misfit in misfits],
            "values": [misfit.value for misfit in misfits],
        },
    )


def _collect_rejects(connection: duckdb.DuckDBPyConnection, source: _Source, file_type: FileType) -> int:
    """Create the tables `bad(place, reason)`, of rows that were read, and `rejects`; returns how many are bad."""
    connection.execute(_BAD_SQL)
    if file_type == "entities" and find_conflicts(connection):
        connection.execute("INSERT INTO bad BY NAME FROM conflicts")
    found = connection.execute("SELECT place FROM bad ORDER BY 1").fetchnumpy()
    places = np.asarray(next(iter(found.values())), dtype=np.int64)
    connection.register("located", {"place": places, "line": _find_lines(source, places)})
    connection.execute(_REJECTS_SQL)
    return len(places)


def _find_lines(source: _Source, places: Places) -> Places:
    """The lines on which rows begin, for their places among those that were read, from 0; places rise."""
    if not len(places):
        return places
    if source.apart:
        return source.apart.original_lines(_lines_in(source, places))
    return _lines_in(source, places + 1)  # the header is a record too


def _lines_in(source: _Source, records: Places) -> Places:
    """The lines of the parsed file on which its records begin that are more than an empty line, counted from 0."""
    if not source.has_spread:  # one line for each record: neither empty lines nor line breaks in quotes
        return records + 1
    lines = (line for line, is_row in record_lines(source.path, source.dialect) if is_row)
    wanted = set(records.tolist())
    return np.array([line for record, line in enumerate(lines) if record in wanted], np.int64)


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
