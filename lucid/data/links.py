"""Links and words: the entities that metadata values, numbers and texts of an entity lead to.

There is one SQL for it, whether an entity is there at training or comes later. A training learns from all entities
which ranges numbers are cut into and which words tell something (`learn`); by that, and by the entities that are there,
the values of any entity become links (`link`). How values are read is the same for both (`read`).
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from lucid.data.metadata import Reading
from lucid.data.numbers import read_numbers
from lucid.data.spellings import folded, unescape
from lucid.schema.fields import KeyUse
from lucid.store.duck import connect, copy, count

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
_WORDS = """(
    SELECT DISTINCT id, type, key, unnest(regexp_extract_all(lower(text), $pattern)) AS word FROM texts)"""
_TEXTS = """
    SELECT id, type, 'name' AS key, name AS text FROM entities WHERE name <> ''
    UNION ALL SELECT id, type, key, value FROM metadata_values WHERE list_contains($texts, key)"""


def read(connection: duckdb.DuckDBPyConnection, uses: Mapping[str, KeyUse], reading: Reading | None) -> None:
    """Create `numbers(id, key, value, number, written)` and `texts(id, type, key, text)`, of which words are made.

    From the tables `entities(id, type, name)` and `metadata_values(id, type, key, value)`, of which `uses` says how
    each key is used. Without a reading, values are read as releases before there were readings did.
    """
    read_numbers(connection, {key: reading.forms.get(key) if reading else None for key in _keys(uses, "number")})
    texts = {"texts": _keys(uses, "text")}
    if reading is None:
        connection.execute(f"CREATE TABLE texts AS {_TEXTS}", texts)
        return
    unescape(connection, "unescaped", f"SELECT text FROM ({_TEXTS})", texts)
    if count(connection, "unescaped"):
        connection.execute(
            "CREATE TABLE texts AS SELECT id, type, key, coalesce(unescaped.text, t.text) AS text "
            f"FROM ({_TEXTS}) t LEFT JOIN unescaped ON escaped = t.text",
            texts,
        )
    else:
        connection.execute(f"CREATE TABLE texts AS {_TEXTS}", texts)
    connection.execute("DROP TABLE unescaped")


def learn(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `known_ranges(key, lowest, label)` and `known_words(type, key, word, entities)` of what was `read`.

    A range reaches to the lowest number of the next one, the first and the last without end.
    """
    connection.execute(
        """
        CREATE TABLE known_ranges AS
        WITH ranked AS (  -- by rank, so that equal numbers share a range
            SELECT key, number, written, ((rank() OVER by_number - 1) * $ranges) // count(*) OVER (PARTITION BY key)
                AS range
            FROM numbers WINDOW by_number AS (PARTITION BY key ORDER BY number)),
        shown AS (SELECT key, range, number, min(written) AS written FROM ranked GROUP BY key, range, number),
        ranges AS (
            SELECT key, range, min(number) AS lowest, arg_min(written, number) AS first,
                arg_max(written, number) AS last
            FROM shown GROUP BY key, range)
        SELECT key, CASE WHEN range = min(range) OVER (PARTITION BY key) THEN '-inf'::DOUBLE ELSE lowest END AS lowest,
            CASE WHEN first = last THEN first ELSE first || ' to ' || last END AS label
        FROM ranges ORDER BY ALL""",
        {"ranges": RANGES},
    )
    connection.execute(
        f"""
        CREATE TABLE known_words AS
        WITH words AS {_WORDS}
        SELECT type, key, word, count(*) AS entities FROM words GROUP BY type, key, word
        HAVING count(*) BETWEEN $least AND $share * (SELECT count(DISTINCT id) FROM texts) ORDER BY ALL""",
        {"pattern": _WORD_PATTERN, "least": MIN_WORD_ENTITIES, "share": MAX_WORD_SHARE},
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
        read(connection, uses, None)
        learn(connection)
        write_learnt(connection, folder)


def link_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what `link` creates of entities that have neither metadata nor names; takes less time."""
    for table in ("links", "words"):
        connection.execute(f"CREATE TABLE {table} (source_id VARCHAR, key VARCHAR, target_id VARCHAR, value VARCHAR)")


def link(
    connection: duckdb.DuckDBPyConnection,
    uses: Mapping[str, KeyUse],
    reading: Reading | None,
    candidates: str = "entities",
) -> None:
    """Create `links(source_id, key, target_id, value)` and `words(source_id, key, target_id, value)` of `entities`.

    `candidates(id, type, name)` is the table of the entities that values may name: one of the key's type that has the
    value as its id, or else as its name, or else a name that differs in spelling only, is linked; otherwise it is the
    entity `key:value`, which may have to be made, of the most frequent spelling of the value. Numbers lead to their
    range, such as `release_year:1990 to 1994`, and words to `word:` and the word in small letters. Needs what `read`
    and `learn` or `read_learnt` have created.
    """
    connection.execute(
        f"""
        CREATE TABLE named AS
        WITH found AS (
            SELECT key, value, count(*) AS times FROM metadata_values WHERE list_contains($entities, key) GROUP BY ALL
            UNION ALL
            SELECT DISTINCT key, label, NULL FROM known_ranges)
        SELECT found.key, found.value, any_value(coalesce(by_id.id, by_name.id)) AS target_id, max(times) AS times
        FROM found
        LEFT JOIN {candidates} by_id ON by_id.type = found.key AND by_id.id = found.value
        LEFT JOIN (SELECT type, name, min(id) AS id FROM {candidates} WHERE name <> '' GROUP BY type, name) by_name
            ON by_name.type = found.key AND by_name.name = found.value
        GROUP BY found.key, found.value""",
        {"entities": _keys(uses, "entity")},
    )
    connection.execute("CREATE TABLE spellings (key VARCHAR, value VARCHAR, target_id VARCHAR, shown VARCHAR)")
    if reading:
        _merge_spellings(connection, candidates)
    connection.execute(
        """
        CREATE TABLE links AS
        WITH values AS (
            SELECT DISTINCT id, key, value FROM metadata_values WHERE list_contains($entities, key)
            UNION SELECT n.id, n.key, r.label FROM numbers n
            ASOF JOIN known_ranges r ON n.key = r.key AND n.number >= r.lowest)
        SELECT values.id AS source_id, values.key,
            coalesce(named.target_id, spellings.target_id, values.key || ':' || values.value) AS target_id,
            coalesce(spellings.shown, values.value) AS value
        FROM values JOIN named USING (key, value) LEFT JOIN spellings USING (key, value)""",
        {"entities": _keys(uses, "entity")},
    )
    connection.execute(
        f"""
        CREATE TABLE words AS
        SELECT id AS source_id, key, $word || ':' || word AS target_id, word AS value
        FROM {_WORDS} JOIN known_words USING (type, key, word)
        QUALIFY row_number() OVER (PARTITION BY id, key ORDER BY entities, word) <= $most""",
        {"pattern": _WORD_PATTERN, "most": MAX_WORDS, "word": WORD},
    )


def _merge_spellings(connection: duckdb.DuckDBPyConnection, candidates: str) -> None:
    """Fill `spellings` with the values of `named` that count as another spelling, or as an entity that has one."""
    names = f"SELECT DISTINCT name FROM {candidates} WHERE name <> '' AND type IN (SELECT key FROM named)"
    unescape(connection, "unescaped", f"SELECT value FROM named UNION ALL {names}")
    connection.execute(f"""
        INSERT INTO spellings
        WITH open AS (
            SELECT key, value, times, {folded("text")} AS folded
            FROM (SELECT key, value, times, coalesce(text, value) AS text FROM named
                LEFT JOIN unescaped ON escaped = value WHERE target_id IS NULL AND times IS NOT NULL)),
        by_name AS (
            SELECT type AS key, {folded("text")} AS folded, min(id) AS id, arg_min(name, id) AS name
            FROM (SELECT type, id, name, coalesce(text, name) AS text FROM {candidates}
                LEFT JOIN unescaped ON escaped = name WHERE name <> '' AND type IN (SELECT key FROM open))
            GROUP BY ALL),
        most AS (
            SELECT *, count(*) OVER (PARTITION BY key, folded) AS spelled,
                first_value(value) OVER (
                    PARTITION BY key, folded ORDER BY times DESC, length(value), value DESC) AS frequent
            FROM open)
        SELECT key, value, coalesce(id, key || ':' || frequent), coalesce(name, frequent)
        FROM most LEFT JOIN by_name USING (key, folded) WHERE id IS NOT NULL OR (spelled > 1 AND value <> frequent)""")
    connection.execute("DROP TABLE unescaped")


def find_merges(connection: duckdb.DuckDBPyConnection, shown: int) -> dict[str, tuple[int, list[list[str]]]]:
    """Of each key, how many spellings count as another one, and the most frequent of them with what they count as."""
    rows = connection.execute(
        """
        SELECT key, count(*), list([value, shown] ORDER BY times DESC, value)[:$shown]
        FROM spellings JOIN named USING (key, value) GROUP BY key""",
        {"shown": shown},
    ).fetchall()
    return {key: (merged, merges) for key, merged, merges in rows}


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
