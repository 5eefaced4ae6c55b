"""What plain interactions say is what the query over files finds that they say."""

from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.csv_load import ROWS
from lucid.data.event_batches import write_events
from lucid.data.plain_since import Known, are_plain, plain_since
from lucid.data.since import Since, select_since
from lucid.data.strengths import StrengthRule
from lucid.schema.filters import Condition, DataFilters
from lucid.store.duck import connect, copy
from lucid.store.event_log import NewEvent
from lucid.store.home import Home
from lucid.store.tables.batches import SelectedBatch

NOW = datetime(2026, 5, 4, 12, 30, 0, 250_000, tzinfo=UTC)
MICROS, DAY = round(NOW.timestamp() * 1e6), 86_400_000_000
KNOWN = {
    "a": Known("user", 0),
    "ü": Known("user", 1),
    "user:a": Known("user", 2),
    "i": Known("item", 3),
    "item:i": Known("item", 4),
    "item:j": Known("item", 5),
    "new": Known("user"),
    "item:n": Known("item"),
}
STRENGTHS = [
    StrengthRule("skips", "dislike", "its name tells of dislike"),
    StrengthRule("views", "plain", "nothing tells", weight=0.0),
    StrengthRule("hides", "dislike", "asked for", weight=0.5),
    StrengthRule("rates", "rating", "stars", "stars", 1, 5, positive_above=4, negative_below=2),
]

ENDS = st.sampled_from(["a", "ü", "user:a", "i", "item:i", "j", "item:j", "new", "n", "item:n", "nobody"])
TYPES = st.sampled_from([None, None, "user", "item", "other"])
BOUNDS = [MICROS + days * DAY + step for days in (-30, -7, 0, 1) for step in (-1, 0, 1)]
"""Where ages of 30 and 7 days, today and what can be end."""
TIMES = st.one_of(
    st.none(),
    st.sampled_from(BOUNDS),
    st.builds(lambda days, step: (MICROS // DAY + days) * DAY + step, st.integers(-40, 2), st.integers(-1, 1)),
)
EVENTS = st.lists(
    st.builds(
        lambda *values: interaction(*values),
        st.sampled_from(["likes", "skips", "views", "hides"]),
        ENDS,
        ENDS,
        TIMES,
        TYPES,
        TYPES,
    ),
    min_size=1,
    max_size=60,
)


def interaction(
    of_type: str,
    source: str,
    target: str,
    time: int | None,
    source_type: str | None = None,
    target_type: str | None = None,
) -> NewEvent:
    return NewEvent(0, None, None, of_type, None, None, None, source, target, time, source_type, target_type)


def by_query(events: list[NewEvent], age: int | None) -> Since:
    """What the selection finds of the events as a batch, beside one of the new entities."""
    entities = [NewEvent(0, None, name, one.type, "", *[None] * 7) for name, one in KNOWN.items() if one.row is None]
    with TemporaryDirectory() as folder, connect() as connection:
        home, held = Path(folder), Path(folder) / "held.parquet"
        rows = ", ".join(
            f"({one.row}, '{name}', '{one.type}', '')" for name, one in KNOWN.items() if one.row is not None
        )
        copy(connection, f"FROM (VALUES {rows}) AS held(row, id, type, name)", held)
        for file_type, some in (("entities", entities), ("interactions", events)):
            Home(home).batch(file_type).mkdir(parents=True)
            write_events(connection, some, file_type, Home(home).batch(file_type) / ROWS)  # type: ignore[arg-type]
        return select_since(
            home,
            [SelectedBatch("entities", "entities"), SelectedBatch("interactions", "interactions")],
            held,
            home,
            {},
            None,
            STRENGTHS,
            now=NOW,
            maximum_interaction_age_days=age,
            data_filters=DataFilters(),
        )


def rows_of(columns: dict[str, np.ndarray[Any, Any]]) -> list[str]:
    """Rows of columns as texts, which tell NaN from nothing else."""
    return [str(row) for row in zip(*(columns[name].tolist() for name in sorted(columns)), strict=True)]


@examples(deadline=None, max_examples=60)
@given(EVENTS, st.sampled_from([None, 7, 30, 10**6]))
@example([interaction("likes", *ends, time) for ends, time in zip(permutations(KNOWN, 2), BOUNDS, strict=False)], 7)
def test_plain_interactions_say_what_the_query_finds(events: list[NewEvent], age: int | None) -> None:
    """Whatever their types and times, whoever their ends are and however these are spelt."""
    plain = plain_since(events, KNOWN, STRENGTHS, now=NOW, maximum_interaction_age_days=age)

    queried = by_query(events, age)
    assert rows_of(queried.edges) == rows_of(plain.edges)
    assert rows_of(queried.left_out) == rows_of(plain.left_out)
    assert sorted(rows_of(queried.met)) == sorted(rows_of(plain.met))
    assert queried.new == plain.new


def test_what_depends_on_metadata_is_not_plain() -> None:
    """Conditions, and types that are rated."""
    likes, rates = interaction("likes", "a", "i", 0), interaction("rates", "a", "i", 0)
    condition = Condition(field="metadata.device", op="ne", value="bot")

    assert are_plain([likes], DataFilters(), STRENGTHS)
    assert not are_plain([likes, rates], DataFilters(), STRENGTHS)
    assert not are_plain([likes], DataFilters(interactions=[condition]), STRENGTHS)
    assert not are_plain([likes], DataFilters(entities=[condition]), STRENGTHS)
