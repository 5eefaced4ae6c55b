"""How the timestamp of an interaction is read, in SQL over the column `timestamp`, and what is odd about some.

Only what can mean one moment is read: ISO 8601 with a full date, and Unix seconds so large that they are neither a
year, a compact date, a spreadsheet's day number nor a small count. As seconds, those would load as some time in 1970.
"""

from collections.abc import Sequence

import duckdb

from lucid.data.timestamp_hints import iso

CLOCK_SKEW_DAYS = 1
"""How far clocks may be ahead of ours: a time beyond that, when a file is uploaded or a training begins, cannot be."""
EARLY_YEAR = 1990
"""Interactions from before are more often a missing time or a wrong unit than a true time."""
SAME_TIME_SHARE, SAME_TIME_ROWS = 0.5, 10
"""A file of at least so many timed rows, of which a larger share has one and the same time, is told of."""

_OFFSET = r"(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?"
_EXTENDED = rf"\d{{4}}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?{_OFFSET})?"
_BASIC = rf"\d{{8}}[Tt]\d{{4}}(?:\d\d(?:[.,]\d{{1,9}})?)?{_OFFSET}"
# Nine digits begin in 1973: years, compact dates and day numbers have fewer, YYYYMMDDHH lies in the future.
_UNIX_SECONDS = r"[1-9]\d{8,9}(?:\.\d+)?"
_FROM_BASIC = (
    r"regexp_replace(regexp_replace(timestamp, '^(\d{4})(\d\d)(\d\d)[Tt](\d\d)(\d\d)', '\1-\2-\3T\4:\5'), "
    r"'^(.{16})(\d\d)', '\1:\2')"
)


def _cast(text: str) -> str:
    """SQL of the moment of ISO 8601 with hyphens and colons."""
    # DuckDB wants seconds where there is an offset, and a point before their fraction.
    with_seconds = rf"regexp_replace(upper({text}), '([T ]\d\d:\d\d)(Z|[+-].*)$', '\1:00\2')"
    return f"try_cast(replace({with_seconds}, ',', '.') AS TIMESTAMPTZ)"


# The common form is tried first: a regular expression on each of ten million rows takes longer than all else.
_READ = rf"""CASE
    WHEN timestamp LIKE '____-__-__T__:__:__Z' AND NOT contains(timestamp, ' ') THEN try_cast(timestamp AS TIMESTAMPTZ)
    WHEN regexp_full_match(timestamp, '{_UNIX_SECONDS}') THEN to_timestamp(timestamp::DOUBLE)
    WHEN regexp_full_match(timestamp, '{_EXTENDED}') THEN {_cast("timestamp")}
    WHEN regexp_full_match(timestamp, '{_BASIC}') THEN {_cast(_FROM_BASIC)}
END"""
_BEFORE_CHRIST = "(TIMESTAMPTZ '0001-01-01 00:00:00+00' - INTERVAL 1 MICROSECOND)"
# `greatest` passes over NULL, so that what cannot be read and what is too early are told by one reading.
TIME = f"nullif(greatest({_READ}, {_BEFORE_CHRIST}), {_BEFORE_CHRIST})"
"""The moment, or NULL where there is none that is sure; a year 0 is none."""

_LATEST = f"(now() + INTERVAL {CLOCK_SKEW_DAYS} DAY)"
INVALID = "timestamp IS NOT NULL AND moment IS NULL"
"""Here and below, `moment` is a column that holds `TIME`, which takes longer to find than all else of a row."""
FUTURE = f"moment > {_LATEST}"
"""Later than the upload by more than clocks differ."""
FUTURE_MESSAGE = (
    f"'this reads as ' || {iso('moment')} || ', which is in the future; expected a time of at most ' || {iso(_LATEST)} "
    "|| ', a day after the upload'"
)


def time_warnings(connection: duckdb.DuckDBPyConnection, rows: str) -> list[str]:
    """What is odd about the times of a file though each can be: very early ones, and one time for most rows.

    `rows` is what may follow FROM, with a column `timestamp` (TIMESTAMPTZ).
    """
    found = connection.execute(
        f"""
        WITH times AS (SELECT timestamp, count(*) AS rows FROM {rows} WHERE timestamp IS NOT NULL GROUP BY timestamp)
        SELECT coalesce(sum(rows), 0)::BIGINT,
            coalesce(sum(rows) FILTER (WHERE timestamp < TIMESTAMPTZ '{EARLY_YEAR}-01-01 00:00:00+00'), 0)::BIGINT,
            {iso("min(timestamp)")}, {iso("arg_max(timestamp, rows)")}, coalesce(max(rows), 0)
        FROM times"""
    ).fetchone()
    assert found is not None
    timed, early, oldest, usual, same = found
    return [*_early(timed, early, oldest), *_same(timed, usual, same)]


def _early(timed: int, early: int, oldest: str) -> Sequence[str]:
    if not early:
        return []
    rows = "row is" if early == 1 else "rows are"
    return [
        f"{early:,} of {timed:,} timed {rows} from before {EARLY_YEAR}, the oldest from {oldest}; "
        "leave the timestamp empty where it is not known"
    ]


def _same(timed: int, usual: str, same: int) -> Sequence[str]:
    if timed < SAME_TIME_ROWS or same <= SAME_TIME_SHARE * timed:
        return []
    share = "all" if same == timed else f"{same:,} of"
    return [
        f"{share} {timed:,} timed rows have the same time, {usual}; "
        "if it is that of an export, leave it empty, for age and order tell nothing then"
    ]
