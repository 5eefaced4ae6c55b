"""Numbers as people write them: with a currency, a unit, separators of thousands, a decimal comma, and as dates.

How a key writes its numbers, its form, is settled by all its values together: `1,234` is a thousand where other values
have three digits after each comma too, and a fraction where one has two. A value of another form is no number.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import duckdb

Structure = Literal[
    "point",
    "comma thousands",
    "comma",
    "point thousands",
    "blank thousands",
    "blank thousands, decimal comma",
    "apostrophe thousands",
    "apostrophe thousands, decimal comma",
    "year first",
    "day.month.year",
    "day/month/year",
    "day-month-year",
    "month.day.year",
    "month/day/year",
    "month-day-year",
]
"""How digits of numbers and dates are written; where several read equally many values of a key, the first counts."""

NUMBER_SHARE = 0.9
"""A key holds numbers where this share of its values is written in one form."""
MAX_LENGTH = 60
"""Longer values, in characters, are no numbers."""
CODE_DIGITS = 9
"""Groups of three digits with blanks between may be a telephone number where all values have so many digits or more."""

_CURRENCIES = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD "
    "RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX "
    "USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWL DEM FRF ITL ESP ATS"
).split()
_UNITS = frozenset(
    "g kg mg µg t lb lbs oz m km cm mm mi ft in yd l ml cl dl s sec secs ms min mins h hr hrs d kcal cal kj w kw kwh v "
    "a mah hz khz mhz ghz b kb mb gb tb mp px dpi fps °c °f ° % ‰ \" ″ ' ′ m² m³ km² km/h mph kr zł rs".split()
)
"""Units that may stand close to a number: a code does not end with one."""

# What a value is read from: figures, signs and blanks of other keyboards are those of ASCII.
_OTHERS = "０１２３４５６７８９．，％＋－−＄￡￥’ʼ＇′″\u00a0\u202f\u2007\u2009\u3000"
_ASCII = "0123456789.,%+--$£¥''''\"     "
assert len(_OTHERS) == len(_ASCII)
_CLEAN = (
    "CASE WHEN regexp_matches(value, '[^ -~]') "
    f"THEN trim(translate(value, '{_OTHERS}', '{_ASCII.replace(chr(39), chr(39) * 2)}')) ELSE value END"
)
_PREFIX = rf"(?:[A-Za-z]{{0,3}}\p{{Sc}}|(?i:{'|'.join(_CURRENCIES)}|rs\.?|kr\.?|fr\.?|zł))"
# To match it and to cut out the digits is a tenth of the work of extracting all groups of one pattern.
_DIGITS = r"\d[\d.,'' ]*\d|\d|\.\d+"
_WHOLE = rf"^[-+]? ?{_PREFIX}? ?[-+]?(?:{_DIGITS}) ?(?:[\p{{L}}\p{{Sc}}%‰°µ\x22/''][^\d]{{0,19}})?$"

_CAST = "try_cast(value AS DOUBLE)"
_DATE = r"regexp_extract(cleaned, '^[\d./-]+')"
# The time of day with its offset, as DuckDB reads them: no blank before an offset, a colon in it, seconds before it.
_CLOCK = (
    r"regexp_replace(regexp_replace(regexp_replace("
    r"replace(upper(substr(cleaned, length(regexp_extract(cleaned, '^[\d./-]+')) + 1)), 'UTC', 'Z'), "
    r"' *(Z|[+-]\d\d(?::?\d\d)?)$', '\1'), '(:.*[+-]\d\d)(\d\d)$', '\1:\2'), '^([T ]+\d+:\d\d)([Z+-]|$)', '\1:00\2')"
)


def _unit(text: str) -> str:
    """SQL of the name of a unit or currency: in small letters, but for a single letter, in which these differ."""
    bare = f"rtrim({text}, '. ')"
    return (
        f"CASE {bare} WHEN '€' THEN 'eur' WHEN '£' THEN 'gbp' WHEN '₹' THEN 'inr' WHEN 'US$' THEN 'usd' "
        f"WHEN 'L' THEN 'l' ELSE CASE WHEN length({bare}) = 1 THEN {bare} ELSE lower({bare}) END END"
    )


_INTEGER = r"0|[1-9]\d*"


def _grouped(thousands: str, decimal: str) -> str:
    return rf"^(?:{_INTEGER}|[1-9]\d{{0,2}}(?:{thousands}\d{{3}})+)(?:{decimal}\d+)?$"


# The structures of numbers: pattern of the digits, the sign between thousands, and the decimal sign.
_NUMERIC: dict[Structure, tuple[str, str, str]] = {
    "point": (rf"^(?:(?:{_INTEGER})(?:\.\d+)?|\.\d+)$", "", "."),
    "comma thousands": (
        rf"^(?:{_INTEGER}|[1-9]\d{{0,2}}(?:,\d{{3}})+|[1-9]\d?(?:,\d\d)+,\d{{3}})(?:\.\d+)?$",  # 1,234,567 or 12,34,567
        ",",
        ".",
    ),
    "comma": (rf"^(?:{_INTEGER})(?:,\d+)?$", "", ","),
    "point thousands": (_grouped(r"\.", ","), ".", ","),
    "blank thousands": (_grouped(" ", r"\."), " ", "."),
    "blank thousands, decimal comma": (_grouped(" ", ","), " ", ","),
    "apostrophe thousands": (_grouped("''", r"\."), "''", "."),
    "apostrophe thousands, decimal comma": (_grouped("''", ","), "''", ","),
}
_TIME = r"(?:[T ]+\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?)?"
_YEAR_FIRST = rf"^\d{{4}}(?:-\d\d?-\d\d?|/\d\d?/\d\d?|\.\d\d?\.\d\d?){_TIME}$"
# Dates of which day and month could be either, by the sign between.
_EITHER: dict[str, tuple[Structure, Structure]] = {
    ".": ("day.month.year", "month.day.year"),
    "/": ("day/month/year", "month/day/year"),
    "-": ("day-month-year", "month-day-year"),
}
STRUCTURES: tuple[Structure, ...] = get_args(Structure)

_SHOWN: dict[Structure, str] = {
    "point": "number",
    "comma thousands": "number with thousands 1,234",
    "comma": "number with a decimal comma",
    "point thousands": "number with thousands 1.234",
    "blank thousands": "number with thousands 1 234",
    "blank thousands, decimal comma": "number with thousands 1 234 and a decimal comma",
    "apostrophe thousands": "number with thousands 1'234",
    "apostrophe thousands, decimal comma": "number with thousands 1'234 and a decimal comma",
    "year first": "date, year first",
}


@dataclass(frozen=True)
class NumberForm:
    """How a key writes its numbers: the structure of their digits, and the currency or unit of all."""

    structure: Structure
    unit: str = ""

    @property
    def has_codes(self) -> bool:
        """Whether codes such as zip codes, which begin with a zero, could be meant by it."""
        return not self.unit and self.structure in _NUMERIC

    def __str__(self) -> str:
        shown = _SHOWN.get(self.structure, f"date, {self.structure}")
        unit = self.unit.upper() if self.unit.upper() in _CURRENCIES else self.unit
        return f"{shown} in {unit}" if unit else shown


@dataclass(frozen=True)
class Written:
    """How many values of a key are in a form, of how many, and what else tells of them.

    `also` is how they could be read as well, `undecided` says that they are dates of which no value tells day from
    month, `like_codes` that they could be codes or telephone numbers.
    """

    form: NumberForm
    fitting: int
    also: str = ""
    undecided: bool = False
    like_codes: bool = False


@dataclass(frozen=True)
class Misfits:
    """How many values of a key are no number, and the most frequent of them."""

    values: int
    examples: list[str]


@dataclass(frozen=True)
class _Group:
    """Values of a key that the same structures read: which, how many, and how they look."""

    read_by: frozenset[Structure]
    values: int
    spaced: int
    """Of how many a blank stands before the unit."""
    separated: bool
    digits: tuple[int, int]


def find_forms(connection: duckdb.DuckDBPyConnection, keys: Collection[str]) -> dict[str, Written]:
    """The form that most values of each key have, where one has any; reads `value_counts(key, value, values)`."""
    connection.execute(_PARSE.replace("{table}", "value_counts"), {"keys": list(keys)})
    bits = " + ".join(f"({_number(name)} IS NOT NULL)::BIGINT * {1 << at}" for at, name in enumerate(STRUCTURES))
    rows = connection.execute(f"""
        WITH read AS (
            SELECT key, unit, values, spaced, digits, {bits} AS mask FROM parsed),
        units AS (
            SELECT key, unit FROM read WHERE mask > 0 GROUP BY key, unit
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY sum(values) DESC, unit) = 1)
        SELECT key, unit, mask, sum(values), sum(values * spaced::INT), bool_or(regexp_matches(digits, '[^0-9]')),
            min(length(replace(digits, ' ', ''))),
            max(length(replace(digits, ' ', '')))
        FROM read JOIN units USING (key, unit) WHERE mask > 0 GROUP BY key, unit, mask ORDER BY ALL""").fetchall()
    connection.execute("DROP TABLE parsed")
    groups: dict[tuple[str, str], list[_Group]] = {}
    for key, unit, mask, values, spaced, separated, least, most in rows:
        read_by = frozenset(name for at, name in enumerate(STRUCTURES) if mask >> at & 1)
        group = _Group(read_by, int(values), int(spaced), separated, (least, most))
        groups.setdefault((key, unit), []).append(group)
    return {key: _written(unit, found) for (key, unit), found in groups.items()}


_PARSE = f"""
    CREATE TABLE parsed AS
    WITH cleaned AS (
        SELECT key, value, values, {_CLEAN} AS cleaned FROM {{table}}
        WHERE list_contains($keys, key) AND length(value) <= {MAX_LENGTH}),
    taken AS (
        SELECT *, CASE WHEN regexp_matches(cleaned, '{_WHOLE}') THEN regexp_extract(cleaned, '{_DIGITS}') ELSE '' END
            AS digits FROM cleaned),
    cut AS (
        SELECT *, CASE WHEN digits <> '' THEN left(cleaned, strpos(cleaned, digits) - 1) ELSE '' END AS head,
            CASE WHEN digits <> '' THEN substr(cleaned, strpos(cleaned, digits) + length(digits)) ELSE '' END AS gap
        FROM taken)
    SELECT key, value, values, cleaned, starts_with(gap, ' ') AS spaced, digits,
        CASE regexp_replace(head, '[^+-]', '', 'g') WHEN '' THEN 1 WHEN '+' THEN 1 WHEN '-' THEN -1 END AS sign,
        CASE WHEN before = after THEN after ELSE trim(before || ' ' || after) END AS unit
    FROM (SELECT *, {_unit("trim(head, '+- ')")} AS before, {_unit("ltrim(gap)")} AS after FROM cut)"""


def _number(structure: Structure) -> str:
    """SQL of the number that a row of `parsed` holds in a structure; null where it is written in another one."""
    if structure in _NUMERIC:
        pattern, thousands, decimal = _NUMERIC[structure]
        figures = f"replace(digits, '{thousands}', '')" if thousands else "digits"
        number = f"sign * try_cast(replace({figures}, '{decimal}', '.') AS DOUBLE)"
        read = f"CASE WHEN regexp_matches(digits, '{pattern}') THEN {number} END"
        if structure == "point":  # whatever else DuckDB takes for a number, such as 1e3
            read = f"CASE WHEN unit = '' AND isfinite({_CAST}) THEN {_CAST} ELSE {read} END"
        return f"({read})"
    if structure == "year first":
        date, pattern = f"translate({_DATE}, './', '--')", _YEAR_FIRST
    else:
        sign = structure.strip("abcdefghijklmnopqrstuvwxyz")[0]
        day, month = ("1", "2") if structure.startswith("day") else ("2", "1")
        parts = f"string_split({_DATE}, '{sign}')"
        date = f"concat_ws('-', {parts}[3], {parts}[{month}], {parts}[{day}])"
        pattern = rf"^\d\d?[{sign}]\d\d?[{sign}]\d{{4}}{_TIME}$"
    moment = f"try_cast({date} || {_CLOCK} AS TIMESTAMPTZ)"
    return f"(CASE WHEN unit = '' AND regexp_matches(cleaned, '{pattern}') THEN epoch({moment}) / 86400 END)"


def _written(unit: str, groups: Sequence[_Group]) -> Written:
    fitting = {name: _values(groups, name) for name in STRUCTURES}
    undecided = False
    for day_first, month_first in _EITHER.values():
        days, months = _values(groups, day_first, month_first), _values(groups, month_first, day_first)
        # Most values can be read either way: what tells is those that cannot.
        for name, telling in ((day_first, days), (month_first, months)):
            if not telling or telling < NUMBER_SHARE * (days + months):
                undecided |= fitting[name] > 0
                fitting[name] = 0
        undecided &= not (fitting[day_first] or fitting[month_first])
    best = max(STRUCTURES, key=lambda name: fitting[name])
    form = NumberForm(best, unit)
    return Written(form, fitting[best], _also(best, fitting, groups), undecided, _like_codes(form, groups))


def _values(groups: Iterable[_Group], reads: Structure, but_not: Structure | None = None) -> int:
    """How many values a structure reads, and another one does not."""
    return sum(group.values for group in groups if reads in group.read_by and but_not not in group.read_by)


def _also(best: Structure, fitting: Mapping[Structure, int], groups: Sequence[_Group]) -> str:
    """What else the separators could mean, where that would read as many values."""
    pairs: dict[Structure, tuple[Structure, str]] = {
        "comma thousands": ("comma", "a decimal comma"),
        "point": ("point thousands", "thousands with points"),
    }
    other, told = pairs.get(best, (None, ""))
    if other is None or fitting[other] < fitting[best]:
        return ""
    plain: Structure = "point" if best == "comma thousands" else "comma"
    return told if any(other in group.read_by and plain not in group.read_by for group in groups) else ""


def _like_codes(form: NumberForm, groups: Sequence[_Group]) -> bool:
    if form.structure.startswith("blank") and not form.unit:
        least, most = min(group.digits[0] for group in groups), max(group.digits[1] for group in groups)
        return least == most >= CODE_DIGITS
    if form.structure == "point":
        usual = form.unit in _UNITS or form.unit.upper() in _CURRENCIES or not form.unit.isalpha()
        closed = not any(group.spaced for group in groups) and not any(group.separated for group in groups)
        return not form.unit or (closed and not usual)
    return False


def read_numbers(connection: duckdb.DuckDBPyConnection, forms: Mapping[str, NumberForm | None]) -> None:
    """Create `numbers(id, key, value, number, written)` of the keys: what `metadata_values` has in their forms.

    Dates are days since 1970-01-01, times of the day fractions of them. `written` is the value as it is shown where a
    range begins or ends. Without a form, a key is read as earlier releases did.
    """
    plain = [key for key, form in forms.items() if form is None or form == NumberForm("point")]
    known = {key: form for key, form in forms.items() if form is not None}
    connection.execute(
        f"""
        CREATE TABLE numbers AS
        SELECT id, key, value, {_CAST} AS number,
            CASE WHEN number = round(number) AND abs(number) < 1e15 THEN number::BIGINT::VARCHAR
                ELSE number::VARCHAR END AS written
        FROM metadata_values WHERE list_contains($plain, key) AND isfinite({_CAST})""",
        {"plain": plain},
    )
    if not known:
        return
    connection.execute(
        f"""
        CREATE TABLE unread AS SELECT DISTINCT key, value, 1 AS values FROM metadata_values
        WHERE list_contains($known, key) AND NOT (list_contains($plain, key) AND coalesce(isfinite({_CAST}), false))""",
        {"known": list(known), "plain": plain},
    )
    connection.execute(_PARSE.replace("{table}", "unread"), {"keys": list(known)})
    cases = " ".join(f"WHEN '{name}' THEN {_number(name)}" for name in STRUCTURES)
    connection.execute(
        f"""
        INSERT INTO numbers
        WITH forms AS (SELECT unnest($keys::VARCHAR[]) AS key, unnest($structures::VARCHAR[]) AS structure,
            unnest($units::VARCHAR[]) AS unit),
        read AS (SELECT key, value, CASE structure {cases} END AS number FROM parsed JOIN forms USING (key, unit))
        SELECT id, key, value, number, value FROM metadata_values JOIN read USING (key, value)
        WHERE isfinite(number)""",
        {
            "keys": list(known),
            "structures": [form.structure for form in known.values()],
            "units": [form.unit for form in known.values()],
        },
    )
    connection.execute("DROP TABLE unread; DROP TABLE parsed")


def find_misfits(connection: duckdb.DuckDBPyConnection, keys: Collection[str], shown: int) -> dict[str, Misfits]:
    """What of `metadata_values` has no number in `numbers`, for keys that have such values."""
    rows = connection.execute(
        """
        SELECT key, sum(times), list(value ORDER BY times DESC, value)[:$shown] FROM (
            SELECT key, value, count(*) AS times FROM metadata_values
            ANTI JOIN (SELECT DISTINCT key, value FROM numbers) USING (key, value)
            WHERE list_contains($keys, key) GROUP BY key, value)
        GROUP BY key""",
        {"keys": list(keys), "shown": shown},
    ).fetchall()
    return {key: Misfits(int(values), examples) for key, values, examples in rows}
