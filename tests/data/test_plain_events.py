"""Interactions that are seen to be good without a query are those that the query finds good, and stored alike."""

import json
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.csv_load import check_sql
from lucid.data.plain_events import plain_row
from lucid.schema.batches import INTERACTION_COLUMNS, TYPE_COLUMNS
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.store.duck import connect

COLUMNS = (*INTERACTION_COLUMNS, *TYPE_COLUMNS)
MOST = 40
"""How many characters metadata may have here."""

TEXTS = st.sampled_from(["a", "b:c", " a ", "ü🙂", "a\0b", None]) | st.text(min_size=1, max_size=5)
ISO = st.builds(
    lambda moment, spec, offset: moment.isoformat("T", spec) + offset,
    st.datetimes(datetime(1, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["auto", "minutes", "seconds", "milliseconds", "microseconds"]),
    st.sampled_from(["Z", "+00:00", "z", "", "+02:00"]),
)
NEARLY_ISO = r"[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?Z"
TIMES = st.one_of(
    st.none(),
    ISO,
    st.from_regex(NEARLY_ISO, fullmatch=True),
    st.from_regex(r"[1-9][0-9]{7,10}(\.[0-9]{0,10})?", fullmatch=True),
    st.floats(1e8, 2e9).map(repr),
    st.sampled_from(["0000-01-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "1700000000.0000005"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
METADATA = st.one_of(
    st.none(),
    st.builds(json.dumps, VALUES, ensure_ascii=st.booleans()),
    st.lists(st.sampled_from(['{"a":', "1e999", "9" * 25, "}", " ", "{}", '"\\ud800"', ",", "NaN", "\ufeff", "[", "]"]))
    .map("".join)
    .filter(bool),
    st.integers(MOST - 12, MOST + 2).map(lambda size: f'{{"a": "{"ü" * (size - 9)}"}}'),
)
ROWS = st.lists(
    st.fixed_dictionaries({**dict.fromkeys(COLUMNS, TEXTS), "timestamp": TIMES, "metadata": METADATA}), max_size=30
)


def queried(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is stored of each row, with the reason against it."""
    values = ", ".join(f"unnest(${name}::VARCHAR[]) AS {name}" for name in COLUMNS)
    sql = check_sql(Settings(max_metadata_characters=MOST), "interactions", f"(SELECT {values})", in_words=False)
    with connect(threads=1) as connection:
        found = connection.execute(
            f"SELECT * REPLACE (epoch_us(timestamp) AS timestamp) FROM ({sql})",
            {name: [row[name] for row in rows] for name in COLUMNS},
        )
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@examples(deadline=None)
@given(ROWS)
def test_what_is_told_without_a_query_is_what_the_query_tells(rows: list[dict[str, Any]]) -> None:
    """Whatever stands in the cells: the same columns are stored, and nothing is bad."""
    now = int(utc_now().timestamp() * 1e6)

    for row, found in zip(rows, queried(rows), strict=True):
        plain = plain_row(row, now, MOST)
        assert plain is None or {**plain, "reason": None} == found


def test_what_programs_send_takes_no_query() -> None:
    cells = {"type": "likes", "source_id": "ü1", "target_id": "2", "source_type": None, "target_type": "b"}
    times = [None, "2025-01-02T03:04:05Z", "2025-01-02T03:04:05.678Z", "2025-01-02T03:04:05.678901+00:00"]
    metadata = [None, "{}", '{"device": "téléphone", "Inf": [1, 2.5, null]}']
    rows = [
        {**cells, "timestamp": time, "metadata": text}
        for time in [*times, "1735787045", "1735787045.678"]
        for text in metadata
    ]

    now = int(utc_now().timestamp() * 1e6)

    assert all(plain_row(row, now, 100) for row in rows)
