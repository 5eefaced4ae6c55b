"""Time that cannot be, at import: it is a row's error that says what it was read as, or the file is told of it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.timestamp_hints import INVALID_MESSAGE
from lucid.data.timestamps import FUTURE, INVALID, TIME, time_warnings
from lucid.store.duck import connect
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

READABLE = "2019-04-01T08:26:00Z"
MEANT = {
    "2019": ("1970-01-01T00:33:39Z", "2019-01-01"),
    "1066": ("1970-01-01T00:17:46Z", "the year 1066"),
    "20190401": ("1970-08-22T16:26:41Z", "2019-04-01"),
    "43556": ("1970-01-01T12:05:56Z", "2019-04-01T00:00:00Z"),
    "43556.5": ("1970-01-01T12:05:56Z", "2019-04-01T12:00:00Z"),
    "201904011230": ("8368-01-31T23:33:50Z", "2019-04-01T12:30"),
    "20190401123000": ("2019-04-01T12:30:00",),
    "0": ("1970-01-01T00:00:00Z", "leave the cell empty"),
    "17": ("1970-01-01T00:00:17Z", "from 100000000 (1973-03-03) on"),
    "-86400": ("1969-12-31T00:00:00Z",),
    "0987654321": ("2001-04-19T04:25:21Z",),
    "190401": ("1970-01-03T04:53:21Z",),
    "1554076800000": ("milliseconds", "2019-04-01T00:00:00Z", "divide by 1000"),
    "1554076800000000": ("microseconds", "2019-04-01T00:00:00Z", "divide by 1000000"),
    "1554076800000000000": ("nanoseconds", "2019-04-01T00:00:00Z", "divide by 1000000000"),
    "99999999999999999999": ("beyond all times",),
    "1.554e9": ("exponent",),
    "12-01-2010 08:26": ("2010-01-12 or 2010-12-01", "yyyy-mm-dd hh:mm:ss"),
    "01/12/2010": ("2010-12-01 or 2010-01-12", "to_datetime"),
    "1.2.2010": ("2010-02-01 or 2010-01-02",),
    "12/12/2010": ("write 2010-12-12",),
    "25/12/2010": ("write 2010-12-25",),
    "12/25/2010 8:26 PM": ("write 2010-12-25",),
    "1/2/19": ("ISO 8601", "yyyy-mm-dd"),
    "2019/04/01": ("hyphens", "yyyy-mm-dd"),
    "2019-4-1": ("two digits",),
    "Dec 1, 2010 8:26": ("ISO 8601", "to_datetime"),
    "Wed, 01 Dec 2010 08:26:00 GMT": ("ISO 8601",),
    "2019-04": ("not quite that of ISO 8601",),
    "2019-04-01 10:00:00 UTC": ("Z or an offset",),
    "2019-02-29": ("no such time",),
    "0000-00-00": ("no such time",),
    "2019-04-01 ": ("blanks",),
    "\t2019-04-01": ("blanks",),
    "yesterday": ("expected nothing, ISO 8601 or Unix seconds",),
}


def read(stamp: str) -> tuple[datetime | None, str | None]:
    """The moment that a timestamp is read as, and what is wrong with it."""
    with connect() as connection:
        row = connection.execute(
            f"SELECT CASE WHEN NOT coalesce({FUTURE}, false) THEN {TIME} END, CASE WHEN {INVALID} THEN 'invalid' "
            f"WHEN {FUTURE} THEN 'future' END "
            f"FROM (SELECT timestamp, {TIME} AS moment FROM (SELECT $stamp AS timestamp))",
            {"stamp": stamp},
        ).fetchone()
    assert row is not None
    return row


def test_time_that_cannot_be_is_a_rows_error_that_says_what_it_may_mean(
    workspace: Workspace, interactions_csv: WriteCsv
) -> None:
    """Years, compact dates, day numbers, parts of a second and dates of a country are not guessed, but explained."""
    rows = [("saw", "u", "w", READABLE), *(("saw", "u", "v", stamp) for stamp in MEANT)]

    (batch,) = workspace.import_files([interactions_csv(*rows)])

    rejected = [bad for block in workspace.rejected_rows(batch.batch_id) for bad in block]
    assert (1, ["invalid_timestamp"] * len(MEANT)) == (batch.interaction_count, [bad.code for bad in rejected])
    unsaid = {bad.value: [part for part in MEANT[bad.value or ""] if part not in bad.message] for bad in rejected}
    assert {stamp: [] for stamp in MEANT} == unsaid


def test_time_that_cannot_be_yet_is_a_rows_error_that_shows_the_reading(
    workspace: Workspace, interactions_csv: WriteCsv
) -> None:
    """More than a day after the upload nothing can have happened."""
    late = {
        "2300-01-01": "2300-01-01T00:00:00Z",
        "2099-12-31T23:59:59+02:00": "2099-12-31T21:59:59Z",
        "9999-12-31": "9999-12-31T00:00:00Z",
        "2019040112": "2033-12-24T12:28:32Z",
        "9999999999": "2286-11-20T17:46:39Z",
    }
    rows = [("buy", "u", "w", READABLE), *(("buy", "u", "v", stamp) for stamp in late)]

    (batch,) = workspace.import_files([interactions_csv(*rows)])

    assert ["future_timestamp"] * len(late) == [bad.code for bad in batch.errors]
    assert [f"this reads as {moment}, which is in the future" for moment in late.values()] == [
        bad.message.partition(";")[0] for bad in batch.errors
    ]


def test_clocks_may_be_a_day_ahead() -> None:
    """A time within a day after the upload is one of a clock that is wrong, or of another zone."""
    now = datetime.now(UTC)

    within, beyond = (read((now + timedelta(hours=hours)).isoformat(timespec="seconds")) for hours in (23, 25))

    assert (None, "future") == (within[1], beyond[1])


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("20190401T082600Z", "2019-04-01T08:26:00+00:00"),
        ("20190401T0826", "2019-04-01T08:26:00+00:00"),
        ("20190401T082600.25+0200", "2019-04-01T06:26:00.250000+00:00"),
        ("2019-04-01t08:26z", "2019-04-01T08:26:00+00:00"),
        ("2019-04-01 08:26:00,5", "2019-04-01T08:26:00.500000+00:00"),
        ("1554107160", "2019-04-01T08:26:00+00:00"),
        ("1554107160.25", "2019-04-01T08:26:00.250000+00:00"),
        ("875000000", "1997-09-23T07:33:20+00:00"),
        ("1970-01-01", "1970-01-01T00:00:00+00:00"),
        ("0001-01-01", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_what_can_mean_one_moment_only_is_read(stamp: str, moment: str) -> None:
    """ISO 8601 with and without separators, and Unix seconds of nine or ten digits."""
    assert (datetime.fromisoformat(moment), None) == read(stamp)


@examples(deadline=None)
@given(st.one_of(st.integers(-(10**8) + 1, 10**8 - 1), st.integers(10**10, 10**20), st.integers(-(10**20), -1)))
def test_no_number_that_could_be_something_else_is_read_as_seconds(number: int) -> None:
    """Whatever its meaning, it is no Unix time of a recommender's data; and something is always said."""
    with connect() as connection:
        message = connection.execute(
            f"SELECT {INVALID_MESSAGE} FROM (SELECT $stamp AS timestamp)", {"stamp": str(number)}
        ).fetchone()

    assert (None, "invalid") == read(str(number))
    assert message is not None
    assert message[0]


def test_a_file_with_early_times_is_told_how_many() -> None:
    """Times before 1990 load, but nearly always stand for none."""
    told = warnings_of(["1970-01-01", "0001-01-01", "1989-12-31T23:59:59Z", "1990-01-01", *recent(6)])

    assert 1 == len(told)
    assert told[0].startswith("3 of 10 timed rows are from before 1990, the oldest from 0001-01-01T00:00:00Z;")


@pytest.mark.parametrize(
    ("same", "other", "told"),
    [(12, 0, "all 12 timed rows have the same time"), (9, 3, "9 of 12 timed rows have the same time"), (6, 6, "")],
)
def test_a_file_of_one_time_is_told_so(same: int, other: int, told: str) -> None:
    """The time of an export says nothing of when each row happened."""
    found = warnings_of([READABLE] * same + recent(other))

    assert [told] == [warning.partition(", 2019-04-01T08:26:00Z;")[0] for warning in found] or (found, told) == ([], "")


@pytest.mark.parametrize("stamps", [[], [None] * 20, [READABLE] * 3])
def test_files_without_times_or_with_few_rows_are_told_nothing(stamps: list[str | None]) -> None:
    """Three equal times are no pattern, and no times are none."""
    assert [] == warnings_of(stamps)


def recent(count: int) -> list[str]:
    return [f"2020-01-{day + 1:02}" for day in range(count)]


def warnings_of(stamps: list[str] | list[str | None]) -> list[str]:
    with connect() as connection:
        connection.execute(
            "CREATE TABLE rows AS SELECT unnest($stamps::TIMESTAMPTZ[]) AS timestamp", {"stamps": stamps}
        )
        return time_warnings(connection, "rows")
