"""Metadata becomes entities: what each metadata key holds, decided from the data.

Nested objects are flattened with dots, each list element counts on its own. A key is judged by all its values
together; the thresholds are the constants below and the outcome of every key stands in the training report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb

from lucid.errors import InvalidRequest
from lucid.schema.fields import KeyKind

MIN_VALUES_TO_JUDGE = 20
"""With fewer values than this a key is never called an identifier: there is too little to go by."""
IDENTIFIER_SHARE = 0.9
"""A key with this share of values that differ within their entity type identifies entities."""
NUMBER_SHARE = 0.95
"""A key with this share of numeric values holds numbers."""
TEXT_LENGTH = 50
"""Values longer than this on average, in characters, are text rather than names."""
URL_SHARE = 0.5
"""A key with this share of URLs identifies, even where several entities share one."""
RANGES = 10
"""Numbers are also cut into about this many ranges with equally many values, each an entity."""

WORD = "word"
"""Type of the entities that words make."""
MIN_WORD_LETTERS, MIN_WORD_ENTITIES, MAX_WORD_SHARE, MAX_WORDS = 3, 3, 0.05, 20
"""Words are at least so long, in at least so many entities of a type and at most this share of them; of one text the
rarest so many."""

WORD_PATTERN = rf"[\p{{L}}\p{{N}}]{{{MIN_WORD_LETTERS},}}"

METADATA_KEY = r"regexp_replace(substr(j.fullkey, 3), '\[\d+\]', '', 'g')"
METADATA_VALUE = r"regexp_replace(j.atom ->> '$', '^\s+|\s+$', '', 'g')"
"""SQL of the flattened key and of the text of a scalar, where `j` is a row of DuckDB's `json_tree`."""


@dataclass(frozen=True)
class KeyRule:
    """How the values of one metadata key are used, and the counts that decided it."""

    key: str
    kind: KeyKind
    reason: str
    entities: int
    values: int
    distinct: int
    examples: list[str]


def read_values(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table `metadata_values(id, type, key, value, json_type, listed)` from the table `entities`.

    One row for every scalar in the metadata; null and blank values have none.
    """
    connection.execute(rf"""
        CREATE TABLE metadata_values AS
        SELECT * FROM (
            SELECT e.id, e.type, {METADATA_KEY} AS key, {METADATA_VALUE} AS value, j.type AS json_type,
                regexp_matches(j.fullkey, '\[\d+\]') AS listed
            FROM entities e, json_tree(e.metadata) j
            WHERE e.metadata IS NOT NULL AND j.atom IS NOT NULL AND j.type <> 'NULL')
        WHERE value <> '' AND key <> ''""")


def judge_keys(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, KeyKind] | None = None) -> list[KeyRule]:
    """Decide for every key in `metadata_values` what it holds, sorted by key; what is `asked` is not decided.

    Raises InvalidRequest for an asked key that no entity has.
    """
    rows = connection.execute(r"""
        SELECT key, count(DISTINCT id), count(*), count(DISTINCT value), count(DISTINCT (type, value)),
            avg(length(value)),
            -- Codes such as zip codes look like numbers but for their leading zeros.
            avg((try_cast(value AS DOUBLE) IS NOT NULL AND json_type <> 'BOOLEAN')::INT)
                * (NOT bool_or(regexp_matches(value, '^0\d')))::INT,
            avg((regexp_matches(value, '^(?i:https?|ftp)://'))::INT),
            bool_or(listed), bool_or(try_cast(value AS DOUBLE) <> floor(try_cast(value AS DOUBLE))),
            list_sort(array_agg(DISTINCT value))[:3]
        FROM metadata_values GROUP BY key ORDER BY key""").fetchall()
    rules = [_judge(*row) for row in rows]
    unknown = sorted(set(asked or ()) - {rule.key for rule in rules})
    if unknown:
        known = ", ".join(rule.key for rule in rules) or "none"
        raise InvalidRequest(f"metadata_rules: no selected entity has the key {', '.join(unknown)}; keys are {known}")
    return [
        replace(rule, kind=asked[rule.key], reason="asked for by the training") if asked and rule.key in asked else rule
        for rule in rules
    ]


def _judge(
    key: str,
    entities: int,
    values: int,
    distinct: int,
    distinct_in_type: int,
    length: float,
    numeric: float,
    urls: float,
    listed: bool,
    fractions: bool | None,
    examples: list[str],
) -> KeyRule:
    def rule(kind: KeyKind, reason: str) -> KeyRule:
        return KeyRule(key, kind, reason, entities, values, distinct, [example[:60] for example in examples])

    if urls >= URL_SHARE:
        return rule("identifier", f"{urls:.0%} of the values are URLs")
    if length > TEXT_LENGTH:
        return rule("text", f"{length:.0f} characters on average")
    if numeric >= NUMBER_SHARE and fractions:
        return rule("number", f"{numeric:.0%} of the values are numbers, some with fractions")
    if not listed and values >= MIN_VALUES_TO_JUDGE and distinct_in_type >= IDENTIFIER_SHARE * values:
        return rule("identifier", f"{distinct_in_type:,} of {values:,} values are the only ones of their entity type")
    if numeric >= NUMBER_SHARE:
        return rule("number", f"{numeric:.0%} of the values are numbers")
    return rule("entity", f"{distinct:,} distinct among {values:,} values")


def link_entities(connection: duckdb.DuckDBPyConnection, rules: list[KeyRule]) -> None:
    """Create `links(source_id, key, target_id)` and add the entities that metadata makes to `entities`.

    An uploaded entity of the key's type that has the value as its id or name is linked; otherwise the entity
    `key:value` is made. Numbers make one entity for each of their ranges, such as `release_year:1990 to 1994`.
    """
    chosen = [rule.key for rule in rules if rule.kind == "entity"]
    numbers = [rule.key for rule in rules if rule.kind == "number"]
    connection.execute(
        """
        CREATE TABLE wanted AS
        WITH numbers AS (
            SELECT id, key, try_cast(value AS DOUBLE) AS number FROM metadata_values
            WHERE list_contains($numbers, key) AND isfinite(try_cast(value AS DOUBLE))),
        ranges AS (  -- by rank, so that equal numbers share a range
            SELECT *, ((rank() OVER by_number - 1) * $ranges) // count(*) OVER (PARTITION BY key) AS range,
                CASE WHEN number = round(number) AND abs(number) < 1e15 THEN number::BIGINT::VARCHAR
                    ELSE number::VARCHAR END AS shown
            FROM numbers WINDOW by_number AS (PARTITION BY key ORDER BY number)),
        named AS (
            SELECT id, key, arg_min(shown, number) OVER same AS lowest, arg_max(shown, number) OVER same AS highest
            FROM ranges WINDOW same AS (PARTITION BY key, range))
        SELECT DISTINCT id AS source_id, key, value FROM metadata_values WHERE list_contains($chosen, key)
        UNION ALL
        SELECT DISTINCT id, key, CASE WHEN lowest = highest THEN lowest ELSE lowest || ' to ' || highest END
        FROM named""",
        {"chosen": chosen, "numbers": numbers, "ranges": RANGES},
    )
    connection.execute("""
        CREATE TABLE links AS
        SELECT DISTINCT w.source_id, w.key, w.value,
            coalesce(by_id.id, by_name.id, w.key || ':' || w.value) AS target_id,
            by_id.id IS NULL AND by_name.id IS NULL AS made
        FROM wanted w
        LEFT JOIN entities by_id ON by_id.type = w.key AND by_id.id = w.value
        LEFT JOIN (SELECT type, name, min(id) AS id FROM entities WHERE name <> '' GROUP BY type, name) by_name
            ON by_name.type = w.key AND by_name.name = w.value""")
    # An uploaded entity may already have the id that a made one would get: it is the same thing.
    connection.execute("""
        INSERT INTO entities (id, type, name)
        SELECT target_id, min(key), arg_min(value, key) FROM links WHERE made
            AND target_id NOT IN (SELECT id FROM entities) GROUP BY target_id""")


def link_words(connection: duckdb.DuckDBPyConnection, rules: list[KeyRule]) -> None:
    """Create `words(source_id, key, target_id)` and add the words of names and of text metadata to `entities`.

    The entity of a word is `word:` and the word in small letters.
    """
    connection.execute(
        """
        CREATE TABLE words AS
        WITH texts AS (
            SELECT id, type, 'name' AS key, name AS text FROM entities e
            WHERE name <> '' AND NOT EXISTS (SELECT 1 FROM links l WHERE l.made AND l.target_id = e.id)
            UNION ALL
            SELECT id, type, key, value FROM metadata_values WHERE list_contains($texts, key)),
        found AS (
            SELECT DISTINCT id, type, key, unnest(regexp_extract_all(lower(text), $pattern)) AS word FROM texts),
        counted AS (
            SELECT *, count(*) OVER (PARTITION BY type, key, word) AS entities FROM found),
        telling AS (
            SELECT * FROM counted
            WHERE entities >= $least
                AND entities <= $share * (SELECT count(DISTINCT id) FROM texts t WHERE (t.type, t.key) = (type, key))
            QUALIFY row_number() OVER (PARTITION BY id, key ORDER BY entities, word) <= $most)
        SELECT id AS source_id, key, $word || ':' || word AS target_id, word FROM telling""",
        {
            "texts": [rule.key for rule in rules if rule.kind == "text"],
            "pattern": WORD_PATTERN,
            "least": MIN_WORD_ENTITIES,
            "share": MAX_WORD_SHARE,
            "most": MAX_WORDS,
            "word": WORD,
        },
    )
    connection.execute(
        "INSERT INTO entities (id, type, name) SELECT DISTINCT target_id, $word, word FROM words "
        "WHERE target_id NOT IN (SELECT id FROM entities)",
        {"word": WORD},
    )
