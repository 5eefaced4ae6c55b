"""What each metadata key holds, decided from the data; see `lucid.data.links` for what becomes of its values.

Nested objects are flattened with dots, each list element counts on its own. A key is judged by all its values
together; the thresholds are the constants below and the outcome of every key stands in the training report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb

from lucid.schema.fields import KeyUse

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
METADATA_KEY = r"regexp_replace(substr(j.fullkey, 3), '\[\d+\]', '', 'g')"
METADATA_VALUE = r"regexp_replace(j.atom ->> '$', '^\s+|\s+$', '', 'g')"
"""SQL of the flattened key and of the text of a scalar, where `j` is a row of DuckDB's `json_tree`."""


@dataclass(frozen=True)
class KeyRule:
    """How the values of one metadata key are used, and the counts that decided it."""

    key: str
    use: KeyUse
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


def judge_keys(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, KeyUse] | None = None) -> list[KeyRule]:
    """Decide for every key in `metadata_values` what it holds, sorted by key; what is `asked` is not decided."""
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
    return [
        replace(rule, use=asked[rule.key], reason="asked for by the training") if asked and rule.key in asked else rule
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
    def rule(use: KeyUse, reason: str) -> KeyRule:
        return KeyRule(key, use, reason, entities, values, distinct, [example[:60] for example in examples])

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
