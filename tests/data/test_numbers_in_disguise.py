"""Numbers in disguise: currencies, units, separators and dates are numbers where a key agrees on one form."""

import json
import random
from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.links import learn
from lucid.data.metadata import KeyRule, judge_keys, read_values
from lucid.data.numbers import NumberForm, Structure, find_misfits, read_numbers
from lucid.schema.fields import KeyUse
from lucid.store.duck import connect

KEY = "price"


def read(values: Sequence[object], use: KeyUse | None = None) -> tuple[KeyRule, dict[str, float], NumberForm | None]:
    """The rule of a key with these values, the number that each has, and their form, as a training finds them."""
    with connect(threads=1) as connection:
        connection.execute("CREATE TABLE entities (id VARCHAR, type VARCHAR, name VARCHAR, metadata VARCHAR)")
        connection.execute(
            "INSERT INTO entities SELECT unnest($ids::VARCHAR[]), 'book', '', unnest($metadata::VARCHAR[])",
            {"ids": [f"b{at}" for at in range(len(values))], "metadata": [json.dumps({KEY: one}) for one in values]},
        )
        read_values(connection)
        (rule,), reading = judge_keys(connection, {KEY: use} if use else None)
        read_numbers(connection, reading.forms)
        numbers = dict(connection.execute("SELECT value, number FROM numbers").fetchall())
        misfits = find_misfits(connection, [KEY], 1000)
        if rule.use == "number":
            fitting = {str(one) for one in values} - set(misfits[KEY].examples if misfits else [])
            assert numbers.keys() == fitting
        return rule, numbers, reading.forms.get(KEY)


def ranges(values: Sequence[object]) -> list[str]:
    """The labels of the ranges that the numbers of a key are cut into."""
    with connect(threads=1) as connection:
        connection.execute("CREATE TABLE entities (id VARCHAR, type VARCHAR, name VARCHAR, metadata VARCHAR)")
        for at, one in enumerate(values):
            connection.execute("INSERT INTO entities VALUES (?, 'book', '', ?)", [str(at), json.dumps({KEY: one})])
        read_values(connection)
        _, reading = judge_keys(connection)
        read_numbers(connection, reading.forms)
        connection.execute("CREATE TABLE texts (id VARCHAR, type VARCHAR, key VARCHAR, text VARCHAR)")
        learn(connection)
        return [label for (label,) in connection.execute("SELECT label FROM known_ranges ORDER BY lowest").fetchall()]


NUMBERS = [0.5, 1, 7, 12.99, 250, 999.25, 1234, 2500.5, 12345.75, 1234567, 7654321.125]


def grouped(number: float, thousands: str, decimal: str) -> str:
    return f"{number:,}".replace(",", "\0").replace(".", decimal).replace("\0", thousands).removesuffix(f"{decimal}0")


DIGITS: dict[Structure, tuple[str, str]] = {
    "comma thousands": (",", "."),
    "point thousands": (".", ","),
    "blank thousands": (" ", "."),
    "blank thousands, decimal comma": (" ", ","),
    "apostrophe thousands": ("'", "."),
    "apostrophe thousands, decimal comma": ("'", ","),
}
AFFIXES = {
    "{}": "",
    "${}": "$",
    "{} $": "$",
    "EUR {}": "eur",
    "{} €": "eur",
    "{}eur": "eur",
    "£{}": "gbp",
    "US$ {}": "usd",
    "{} USD": "usd",
    "{} kr.": "kr",
    "{}%": "%",
    "{} %": "%",
    "{}g": "g",
    "{} KM": "km",
    "{} m²": "m²",
    "{} km/h": "km/h",
    "{} °C": "°c",
    "{} fl oz": "fl oz",
    "$ {} / kg": "$ / kg",
}


@pytest.mark.parametrize("affix", AFFIXES)
@pytest.mark.parametrize("structure", DIGITS)
def test_a_number_is_what_was_written(structure: Structure, affix: str) -> None:
    """For every separator, currency and unit, with signs and without."""
    written = {
        sign + affix.format(grouped(number, *DIGITS[structure])): factor * number
        for number in NUMBERS
        for sign, factor in (("", 1), ("-", -1), ("+", 1), ("\u2212", -1))
    }

    rule, numbers, form = read(list(written))

    assert ("number", 1.0) == (rule.use, len(numbers) / len(written))
    assert NumberForm(structure, AFFIXES[affix]) == form
    assert pytest.approx(written) == numbers


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f", "\u2009"])
def test_all_blanks_may_stand_between_thousands(blank: str) -> None:
    """And before a unit; most of them cannot be told from one another."""
    rule, numbers, _ = read([f"1{blank}234{blank}€", f"12{blank}345,50{blank}€", "7 €"] * 9)

    assert "number" == rule.use
    assert [7, 1234, 12345.5] == sorted(numbers.values())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["$12.99", "$5"], [5, 12.99]),
        (["12,99", "5,00"], [5, 12.99]),
        (["1,234", "2,500"], [1234, 2500]),
        (["1,234", "2,50"], [1.234, 2.5]),
        (["1,234", "2,500.75"], [1234, 2500.75]),
        (["1.234", "2.500"], [1.234, 2.5]),
        (["1.234", "1.234.567"], [1234, 1234567]),
        (["1.234,5", "7"], [7, 1234.5]),
        (["12,34,567", "1,234"], [1234, 1234567]),
        (["0,123", "1,234"], [0.123, 1.234]),
        (["1'234", "1’500.25"], [1234, 1500.25]),
        (["１２", "３．５"], [3.5, 12]),
        (["\u22125", "5"], [-5, 5]),
        (["-$5", "$-6"], [-6, -5]),
        (["1e3", "2.5E-1"], [0.25, 1000]),
        (["80%", "7.5 %"], [7.5, 80]),
        (['5"', "6″"], [5, 6]),
        (["1990s", "2000s"], [1990, 2000]),
    ],
    ids=str,
)
def test_one_reading_fits_all_values_of_a_key(values: Sequence[object], expected: list[float]) -> None:
    """What a comma or point means is settled by the key, not by each value."""
    rule, numbers, _ = read([*values] * 15)

    assert "number" == rule.use
    assert expected == sorted(numbers.values())


NO_NUMBERS = [
    "(12)",
    "--5",
    "-$-5",
    "5-",
    "1/2",
    "½",
    "~5",
    ">5",
    "12:30",
    "1:30:00",
    "0x1F",
    "10x15",
    "1,23,4",
    "1.2.3",
    "12 34",
    "1,,2",
    "5 to 9",
    "25-34",
    "n/a",
    "-",
    "ask",
    "NaN",
    "inf",
    "-Infinity",
    "1e400",
    "No. 5",
    "2021-02-30",
    "2021-13-01",
    "0123 456",
    "192.168.1.1",
    "12 monkeys, 7 bears",
]


@pytest.mark.parametrize("odd", NO_NUMBERS)
def test_what_is_no_number_has_no_value_where_others_are(odd: str) -> None:
    """It is told as a misfit, and keeps no other value of the key from being a number."""
    values = [f"${number}.50" for number in range(19)]

    rule, numbers, form = read([*values, odd])

    assert ("number", "$") == (rule.use, form and form.unit)
    assert odd not in numbers
    assert 19 == len(numbers)


@pytest.mark.parametrize("odd", NO_NUMBERS)
def test_what_is_no_number_makes_no_numbers_of_a_key(odd: str) -> None:
    """However often it stands there; only `NaN` and the infinite were taken for numbers ever since."""
    rule, numbers, _ = read([odd] * 30)

    assert {} == numbers
    assert (rule.use == "number") == (odd in ("NaN", "inf", "-Infinity", "1e400"))


FORMS = {
    "plain": "{}.25",
    "currency": "${}.99",
    "code": "EUR {}",
    "unit": "{} g",
    "percent": "{}%",
    "decimal comma": "{},75",
    "thousands": "{},500",
    "points": "{}.500.000",
    "blanks": "{} 500",
    "apostrophes": "{}'500",
    "dates": "2021-03-{:02}",
    "days first": "{:02}.07.1999",
    "months first": "07/{:02}/1999",
}


@pytest.mark.parametrize("misfit", ["-", "n/a", "ask", None])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_nine_of_ten_values_have_to_agree(form: str, misfit: str | None) -> None:
    """At 91% and 90% a key holds numbers, at 89% not; None stands for misfits that all differ."""
    for share, holds in ((91, True), (90, True), (89, False), (50, False)):
        fitting = [form.format(1 + at % 28) for at in range(share)]
        rule, numbers, _ = read([*fitting, *(misfit or f"odd{'x' * at}" for at in range(100 - share))])

        assert holds == (rule.use == "number"), rule
        assert set(numbers) == (set(fitting) if holds else set())
        if not holds and share == 89:
            assert "only 89% are written as" in rule.reason


def test_values_of_two_units_are_numbers_only_where_nearly_all_have_one() -> None:
    """Grams and kilograms are no one form; what is in another unit has no value."""
    mixed, _, _ = read([f"{at} g" for at in range(60)] + [f"{at} kg" for at in range(40)])
    nearly, numbers, form = read([f"{at} g" for at in range(95)] + [f"{at} kg" for at in range(5)])

    assert "number" != mixed.use
    assert ("number", "number in g") == (nearly.use, str(form))
    assert {f"{at} g" for at in range(95)} == set(numbers)


def test_which_reading_was_taken_is_told_where_two_fit() -> None:
    """`1,234` and `2,500` are thousands, `1.234` and `2.500` are not, and the report says that they could be."""
    assert "number with thousands 1,234; a decimal comma would read as many" == read(["1,234", "2,500"] * 15)[0].form
    assert "number; thousands with points would read as many" == read(["1.234", "2.500"] * 15)[0].form
    assert "number with thousands 1,234" == read(["1,234", "2,500.5"] * 15)[0].form
    assert "number" == read([1, 2, 3.5] * 15)[0].form


def day(text: str) -> float:
    return float((date.fromisoformat(text) - date(1970, 1, 1)).days)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2021-05-03", "1969-12-31"], ["2021-05-03", "1969-12-31"]),
        (["2021/5/3", "2021.05.04"], ["2021-05-03", "2021-05-04"]),
        (["03.05.2021", "13.05.2021"], ["2021-05-03", "2021-05-13"]),
        (["3/5/2021", "13/5/2021"], ["2021-05-03", "2021-05-13"]),
        (["05/03/2021", "05/13/2021"], ["2021-05-03", "2021-05-13"]),
        (["03-05-2021", "31-12-2020"], ["2021-05-03", "2020-12-31"]),
    ],
    ids=str,
)
def test_dates_are_days(values: Sequence[object], expected: list[str]) -> None:
    """Whichever comes first, where some day is over 12."""
    rule, numbers, _ = read([*values] * 15)

    assert "number" == rule.use
    assert sorted(day(one) for one in expected) == sorted(numbers.values())


def test_times_of_the_day_are_parts_of_days() -> None:
    """Of the day in UTC; with a date only, it is midnight."""
    midnight = day("2021-05-03")
    written = {
        "2021-05-03": 0.0,
        "2021-05-03T12:00:00Z": 0.5,
        "2021-05-03 06:00": 0.25,
        "2021-05-03 12:00 UTC": 0.5,
        "2021-05-03T12:00:00.000+06:00": 0.25,
        "2021-05-03T00:00:00-0600": 0.25,
        "2021-05-03 03:00+03": 0.0,
        "2021-05-03T05:30:00+05:30": 0.0,
    }

    assert pytest.approx({one: midnight + part for one, part in written.items()}) == read(list(written) * 5)[1]


@pytest.mark.parametrize("sign", ["/", ".", "-"])
def test_dates_of_which_no_value_tells_the_day_are_none(sign: str) -> None:
    """Nor those where values tell different things; a rule of the training changes nothing about that."""
    both = [f"0{1 + at % 9}{sign}0{1 + at % 7}{sign}2021" for at in range(60)]
    split = [*both, *[f"15{sign}03{sign}2021"] * 5, *[f"03{sign}15{sign}2021"] * 5]

    for values in (both, split):
        rule, numbers, _ = read([*values])
        assert "number" != rule.use
        assert "no value tells whether the day or the month is first" in rule.reason
        assert {} == numbers
        assert {} == read([*values], use="number")[1]


@examples(deadline=None, max_examples=30)
@given(st.lists(st.dates(date(1700, 1, 1), date(2200, 12, 31)), min_size=5, max_size=40), st.sampled_from("./-"))
def test_any_dates_are_read_as_they_were_meant_or_not_at_all(dates: list[date], sign: str) -> None:
    """A day is never taken for a month: with days over 12 all are right, without any none is read."""
    values = [f"{one.day:02}{sign}{one.month:02}{sign}{one.year}" for one in dates]

    _, numbers, _ = read([*values, *values, *values, *values], use="number")

    expected = {value: day(one.isoformat()) for value, one in zip(values, dates, strict=True)}
    assert numbers == (expected if any(one.day > 12 for one in dates) else {})


@examples(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from(sorted(DIGITS)), st.sampled_from(sorted(AFFIXES)))
def test_the_order_of_values_changes_nothing(chance: random.Random, structure: Structure, affix: str) -> None:
    """Forms, numbers and labels of ranges are the same however rows are ordered."""
    written = [affix.format(grouped(chance.randrange(10**7) / 4, *DIGITS[structure])) for _ in range(30)]
    shuffled = chance.sample(written, len(written))

    assert read([*written]) == read([*shuffled])
    assert ranges([*written]) == ranges([*shuffled])


def test_plain_numbers_are_what_they_were() -> None:
    """Years, ids, prices, zip codes and columns with missing numbers are used as ever."""
    years = [*range(1985, 2025)] * 3

    assert ("number", "100% of the values are numbers") == (read(years)[0].use, read(years)[0].reason)
    assert "identifier" == read([*range(100)])[0].use
    assert "identifier" == read([*range(95), *"-----"])[0].use
    assert "number" == read([*range(19), 0.5])[0].use
    assert "entity" == read([f"0{1000 + at % 5}" for at in range(60)])[0].use
    assert "entity" == read([*["12"] * 60, "07"])[0].use
    assert "number" == read([*[1.5] * 50, *["nan"] * 50])[0].use
    assert ["1985 to 1988", "1989 to 1992"] == ranges(years)[:2]


@pytest.mark.parametrize(
    "values",
    [
        [f"{10000 + at}X" for at in range(60)],
        [f"{612345678 + 7919 * at:,}".replace(",", " ") for at in range(60)],
        [f"tt{at}" for at in range(60)],
        [f"{at}-{at + 1}" for at in range(60)],
    ],
    ids=["codes", "telephones", "letters first", "spans"],
)
def test_codes_stay_identifiers(values: Sequence[object]) -> None:
    """Of one letter behind or groups of three: nearly all differ, and nothing measures."""
    assert "identifier" == read(values)[0].use


def test_measures_are_numbers_even_where_all_differ() -> None:
    """Prices, weights and days of which none is there twice."""
    days = [date(2020, 1, 1) + timedelta(days=at) for at in range(100)]
    for values in (
        [f"${at}" for at in range(100)],
        [f"{at}kg" for at in range(100)],
        [f"{at} Seiten" for at in range(100)],
        [f"{1 + at},500" for at in range(100)],
        [one.isoformat() for one in days],
    ):
        assert "number" == read([*values])[0].use, values[0]


def test_ranges_are_called_as_the_values_are_written() -> None:
    """From the lowest to the highest of them, with currency and unit; dates as dates."""
    assert ["$1.50 to $5.50", "$6.50 to $10.50"] == ranges([f"${at + 1}.50" for at in range(50)])[:2]
    assert ["1,234 g"] == ranges(["1,234 g"] * 30)
    assert ["2021-03-01 to 2021-03-02", "2021-03-03 to 2021-03-04"] == ranges(
        [f"2021-03-{1 + at:02}" for at in range(20)] * 2
    )[:2]


@pytest.mark.parametrize("value", ["12.50", "12,50"])
def test_a_rule_makes_numbers_of_what_is_too_little(value: str) -> None:
    """Asked for, a key is read in the form of most of its values, however few that are."""
    rule, numbers, _ = read([value] * 3 + ["?"] * 7, use="number")

    assert ("number", "asked for by the training") == (rule.use, rule.reason)
    assert {value: 12.5} == numbers


def test_numbers_of_json_count_among_texts() -> None:
    """12 and "12 €" are not the same form, 12 and "12,5" are."""
    assert [12, 12.5] == sorted(read([12, "12,5"] * 15)[1].values())
    assert "entity" == read([12, "12 €"] * 15)[0].use
