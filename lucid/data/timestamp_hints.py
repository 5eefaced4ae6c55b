"""What is said of a timestamp that is not read, in SQL over the column `timestamp`.

People export years, day numbers and their country's dates. Each is told what it would have been read as, and what to
write instead.
"""

EXPECTED = "expected nothing, ISO 8601 or Unix seconds"
_WRITE_ISO = "write ISO 8601, such as 2019-04-01T08:26:00Z"
_CONVERT = (
    "in a spreadsheet give the column the format yyyy-mm-dd hh:mm:ss, in pandas use to_datetime with the right format"
)

Hint = tuple[str, str]
"""When it holds, and what is said then, both SQL."""


def iso(moment: str) -> str:
    """SQL of a moment's ISO 8601; of one that cannot be shown, a question mark."""
    return f"coalesce(strftime({moment}, '%Y-%m-%dT%H:%M:%SZ'), '?')"


def _first_of(hints: list[Hint], otherwise: str) -> str:
    return f"CASE {' '.join(f'WHEN {when} THEN {said}' for when, said in hints)} ELSE {otherwise} END"


def _fits(pattern: str) -> str:
    return f"regexp_full_match(timestamp, '{pattern}')"


def _has(pattern: str) -> str:
    return f"regexp_matches(timestamp, '{pattern}')"


# Numbers

_NUMBER = r"[+-]?\d+(\.\d+)?"


def _unix(parts: int = 1) -> str:
    """SQL of the moment that so many parts of a second since 1970 are; NULL beyond the years 1 to 9999."""
    seconds = f"(try_cast(timestamp AS DOUBLE) / {parts})"
    return f"CASE WHEN {seconds} BETWEEN -62135596800 AND 253402300799 THEN to_timestamp({seconds}) END"


_AS_SECONDS = f"'as Unix seconds this would be ' || {iso(_unix())} || ', so it is not read as such; '"
_SPREADSHEET_DAY = (
    "CASE WHEN try_cast(timestamp AS DOUBLE) BETWEEN 20000 AND 80000 "
    "THEN to_timestamp((timestamp::DOUBLE - 25569) * 86400) END"  # day 25569 is 1970-01-01
)


def _compact(digits: int, pattern: str) -> Hint:
    """Digits without separators, where their year is a likely one."""
    found = f"CASE WHEN year(try_strptime(timestamp, '{pattern}')) BETWEEN 1900 AND 2100 THEN timestamp END"
    parts = pattern.replace("%Y%m%d", "%Y-%m-%d").replace("%H%M", "T%H:%M").replace("%M%S", "%M:%S")
    shown = f"strftime(try_strptime({found}, '{pattern}'), '{parts}')"
    return (
        f"{_fits(rf'[0-9]{{{digits}}}')} AND ({found}) IS NOT NULL",
        f"{_AS_SECONDS} || 'if it is ' || {shown} || ', write it like that'",
    )


def _parts_of_a_second(digits: str, parts: int, name: str) -> Hint:
    pattern = rf"\d{{{digits}}}(\.\d+)?"
    return (
        f"{_fits(pattern)} AND ({_unix(parts)}) IS NOT NULL",
        f"'too long for Unix seconds; is it {name}? then it is ' || {iso(_unix(parts))} || ': divide by {parts}'",
    )


_FIVE_DIGITS, _YEAR, _EXPONENT = _fits(r"\d{5}(\.\d+)?"), _fits(r"[12]\d{3}"), _has("[eE]")
_NUMBERS: list[Hint] = [
    (_EXPONENT, f"'a number with an exponent has lost digits; write all of them, or {_WRITE_ISO}'"),
    (
        _YEAR,
        f"{_AS_SECONDS} || 'if it is the year ' || timestamp || ', write a date such as ' || timestamp || '-01-01'",
    ),
    _compact(8, "%Y%m%d"),
    _compact(12, "%Y%m%d%H%M"),
    _compact(14, "%Y%m%d%H%M%S"),
    (
        f"{_FIVE_DIGITS} AND ({_SPREADSHEET_DAY}) IS NOT NULL",
        f"{_AS_SECONDS} || 'if it is a day number of a spreadsheet, it is ' || {iso(_SPREADSHEET_DAY)} || "
        "': there, give the column the format yyyy-mm-dd hh:mm:ss'",
    ),
    _parts_of_a_second("12,13", 1000, "milliseconds"),
    _parts_of_a_second("15,16", 1_000_000, "microseconds"),
    _parts_of_a_second("18,19", 1_000_000_000, "nanoseconds"),
    (
        f"({_unix()}) IS NOT NULL",
        f"{_AS_SECONDS} || 'Unix seconds are read from 100000000 (1973-03-03) on; leave the cell empty where no time "
        f"is known, or {_WRITE_ISO}'",
    ),
]

# Dates

_PART = r"regexp_extract(timestamp, '^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})', %d)"
_DAY_FIRST, _MONTH_FIRST = (
    f"strftime(try_strptime(concat_ws('-', {_PART % 3}, {_PART % month}, {_PART % day}), '%Y-%m-%d'), '%Y-%m-%d')"
    for month, day in ((2, 1), (1, 2))
)
_YEAR_LAST: list[Hint] = [
    (
        f"({_DAY_FIRST}) <> ({_MONTH_FIRST})",
        f"'it could be ' || ({_DAY_FIRST}) || ' or ' || ({_MONTH_FIRST}) || ', so it is not read; "
        f"write the year first, as in ISO 8601: {_CONVERT}'",
    ),
    (
        f"coalesce({_DAY_FIRST}, {_MONTH_FIRST}) IS NOT NULL",
        f"'the year comes first in ISO 8601: write ' || coalesce({_DAY_FIRST}, {_MONTH_FIRST}) || '; {_CONVERT}'",
    ),
]
_MONTHS = "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATES: list[Hint] = [
    (
        _has(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?$"),
        f"'the calendar or the clock has no such time; {EXPECTED}'",
    ),
    (
        _has(r"^\d{4}-\d\d($|-\d\d)"),
        f"'the form is not quite that of ISO 8601: {_WRITE_ISO}, with Z or an offset such as +02:00 at the end'",
    ),
    (
        _has(r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(\D|$)"),
        f"'in ISO 8601 a date has hyphens and two digits for month and day: {_WRITE_ISO}; {_CONVERT}'",
    ),
    (
        _has(rf"^\d{{1,2}}[-/. ]\d{{1,2}}[-/. ]\d{{2}}(\D|$)|{_MONTHS}"),
        f"'dates are only read in the form of ISO 8601: {_WRITE_ISO}; {_CONVERT}'",
    ),
]

_OTHERWISE = f"'{EXPECTED}'"
INVALID_MESSAGE = _first_of(
    [
        (
            _has(r"^[\s\x{a0}]|[\s\x{a0}]$"),
            "'there are blanks before or after it; expected nothing, ISO 8601 or Unix seconds without blanks around'",
        ),
        (
            _fits(_NUMBER + r"([eE][+-]?\d+)?"),
            _first_of(_NUMBERS, f"'this number is beyond all times; {EXPECTED}'"),
        ),
        (_has(r"^\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"), _first_of(_YEAR_LAST, _OTHERWISE)),
        (_has(r"\d\D*\d"), _first_of(_DATES, _OTHERWISE)),
    ],
    _OTHERWISE,
)
