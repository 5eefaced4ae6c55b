"""Links and words: the entities that metadata values, numbers and texts of an entity lead to.

There is one SQL for it, whether an entity is there at training or comes later. A training learns from all entities
which ranges numbers are cut into and which words tell something (`learn`); by that, and by the entities that are there,
the values of any entity become links (`link`).
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from lucid.schema.fields import KeyUse
from lucid.store.duck import connect, copy

RANGES = 10
"""Numbers are cut into about this many ranges with equally many values, each an entity."""
WORD = "word"
"""Type of the entities that words make."""
MIN_WORD_LETTERS, MIN_WORD_ENTITIES, MAX_WORD_SHARE, MAX_WORDS = 3, 3, 0.05, 20
"""Words are at least so long, in at least so many entities of a type and in at most this share of all that have text;
of one text the rarest so many."""

KNOWN_RANGES, KNOWN_WORDS = "known_ranges.parquet", "known_words.parquet"
"""Files of what was learnt."""
_WORD_PATTERN = rf"[\p{{L}}\p{{N}}]{{{MIN_WORD_LETTERS},}}"
_NUMBERS = """(
    SELECT id, key, try_cast(value AS DOUBLE) AS number FROM metadata_values
    WHERE list_contains($numbers, key) AND isfinite(try_cast(value AS DOUBLE)))"""
_WORDS = """(
    SELECT DISTINCT id, type, key, unnest(regexp_extract_all(lower(text), $pattern)) AS word FROM (
        SELECT id, type, 'name' AS key, name AS text FROM entities WHERE name <> ''
        UNION ALL SELECT id, type, key, value FROM metadata_values WHERE list_contains($texts, key)))"""


def learn(connection: duckdb.DuckDBPyConnection, uses: Mapping[str, KeyUse]) -> None:
    """Create `known_ranges(key, lowest, label)` and `known_words(type, key, word, entities)`.

    From the tables `entities(id, type, name)` and `metadata_values(id, type, key, value)`, of which `uses` says how
    each key is used. A range reaches to the lowest number of the next one, the first and the last without end.
    """
    connection.execute(
        f"""
        CREATE TABLE known_ranges AS
        WITH ranked AS (  -- by rank, so that equal numbers share a range
            SELECT key, number, ((rank() OVER by_number - 1) * $ranges) // count(*) OVER (PARTITION BY key) AS range,
                CASE WHEN number = round(number) AND abs(number) < 1e15 THEN number::BIGINT::VARCHAR
                    ELSE number::VARCHAR END AS shown
            FROM {_NUMBERS} WINDOW by_number AS (PARTITION BY key ORDER BY number)),
        ranges AS (
            SELECT key, range, min(number) AS lowest, arg_min(shown, number) AS first, arg_max(shown, number) AS last
            FROM ranked GROUP BY key, range)
        SELECT key, CASE WHEN range = min(range) OVER (PARTITION BY key) THEN '-inf'::DOUBLE ELSE lowest END AS lowest,
            CASE WHEN first = last THEN first ELSE first || ' to ' || last END AS label
        FROM ranges ORDER BY ALL""",
        {"numbers": _keys(uses, "number"), "ranges": RANGES},
    )
    connection.execute(
        f"""
        CREATE TABLE known_words AS
        WITH words AS {_WORDS},
        texts AS (
            SELECT id FROM entities WHERE name <> ''
            UNION SELECT id FROM metadata_values WHERE list_contains($texts, key))
        SELECT type, key, word, count(*) AS entities FROM words GROUP BY type, key, word
        HAVING count(*) BETWEEN $least AND $share * (SELECT count(*) FROM texts) ORDER BY ALL""",
        {
            "texts": _keys(uses, "text"),
            "pattern": _WORD_PATTERN,
            "least": MIN_WORD_ENTITIES,
            "share": MAX_WORD_SHARE,
        },
    )


def write_learnt(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Leave what `learn` has found in a folder; `read_learnt` reads it back."""
    for table, name in (("known_ranges", KNOWN_RANGES), ("known_words", KNOWN_WORDS)):
        copy(connection, f"FROM {table} ORDER BY ALL", folder / name)


def read_learnt(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Create the tables that `learn` creates from what a training has left in a folder."""
    for table, name in (("known_ranges", KNOWN_RANGES), ("known_words", KNOWN_WORDS)):
        connection.execute(f"CREATE TABLE {table} AS FROM read_parquet($path)", {"path": str(folder / name)})


def learn_again(entities: Path, values: Path, uses: Mapping[str, KeyUse], folder: Path) -> None:
    """Leave in a folder what a training had learnt that kept only its entities and their values, as release 0.1 did."""
    with connect() as connection:
        connection.execute(
            "CREATE TABLE entities AS SELECT row, id, type, name FROM read_parquet($path) "
            "WHERE id IS NOT NULL AND id <> type || ':' || name",
            {"path": str(entities)},
        )
        connection.execute(
            "CREATE TABLE metadata_values AS SELECT id, type, key, value FROM read_parquet($path) "
            "JOIN entities USING (row)",
            {"path": str(values)},
        )
        learn(connection, uses)
        write_learnt(connection, folder)


def link(connection: duckdb.DuckDBPyConnection, uses: Mapping[str, KeyUse], candidates: str = "entities") -> None:
    """Create `links(source_id, key, target_id, value)` and `words(source_id, key, target_id, value)` of `entities`.

    `candidates(id, type, name)` is the table of the entities that values may name: one of the key's type that has the
    value as its id, or else as its name, is linked; otherwise it is the entity `key:value`, which may have to be made.
    Numbers lead to their range, such as `release_year:1990 to 1994`, and words to `word:` and the word in small
    letters.
    """
    connection.execute(
        f"""
        CREATE TABLE links AS
        WITH named AS (
            SELECT DISTINCT id, key, value FROM metadata_values WHERE list_contains($entities, key)
            UNION SELECT n.id, n.key, r.label FROM {_NUMBERS} n
            ASOF JOIN known_ranges r ON n.key = r.key AND n.number >= r.lowest)
        SELECT named.id AS source_id, named.key,
            coalesce(by_id.id, by_name.id, named.key || ':' || named.value) AS target_id, named.value
        FROM named
        LEFT JOIN {candidates} by_id ON by_id.type = named.key AND by_id.id = named.value
        LEFT JOIN (SELECT type, name, min(id) AS id FROM {candidates} WHERE name <> '' GROUP BY type, name) by_name
            ON by_name.type = named.key AND by_name.name = named.value""",
        {"entities": _keys(uses, "entity"), "numbers": _keys(uses, "number")},
    )
    connection.execute(
        f"""
        CREATE TABLE words AS
        SELECT id AS source_id, key, $word || ':' || word AS target_id, word AS value
        FROM {_WORDS} JOIN known_words USING (type, key, word)
        QUALIFY row_number() OVER (PARTITION BY id, key ORDER BY entities, word) <= $most""",
        {"texts": _keys(uses, "text"), "pattern": _WORD_PATTERN, "most": MAX_WORDS, "word": WORD},
    )


def add_made(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the entities to `entities` that links and words lead to and that nobody has uploaded."""
    # An uploaded entity may already have the id that a made one would get: it is the same thing.
    connection.execute(
        """
        INSERT INTO entities (id, type, name)
        SELECT target_id, min(type), arg_min(value, type) FROM (
            SELECT target_id, key AS type, value FROM links UNION ALL SELECT target_id, $word, value FROM words)
        WHERE target_id NOT IN (SELECT id FROM entities) GROUP BY target_id""",
        {"word": WORD},
    )


def _keys(uses: Mapping[str, KeyUse], use: KeyUse) -> list[str]:
    return [key for key, chosen in uses.items() if chosen == use]
