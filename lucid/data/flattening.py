"""Metadata objects flattened: every scalar in them, and the key that names it.

Each element of a list counts on its own, and nested objects are named by their path: `{"crew": {"editor": "Ed"}}` has
the key `crew.editor`. A literal key is a name as it is, whatever it looks like: `"a.b"`, `"/a"`, `"a[0]"`. Where two
paths make the same name, the one of fewer levels has it, so a literal key always does; the values of the others are
left out and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

_KEY = r"regexp_replace(substr(j.fullkey, 3), '\[\d+\]', '', 'g')"
_VALUE = r"regexp_replace(j.atom ->> '$', '^\s+|\s+$', '', 'g')"
_LISTED = r"regexp_matches(j.fullkey, '\[\d+\]')"
# A key in which DuckDB's `fullkey` would take a full stop or bracket for a step: perhaps more, but never fewer.
_ODD = r"""regexp_matches(metadata, '(?:[.\[]|\\u00(?:2[eE]|5[bB]))(?:[^"\\]|\\.)*"\s*:')"""
_SCALAR = "j.atom IS NOT NULL AND j.type <> 'NULL'"


@dataclass(frozen=True)
class Flattened:
    """`paths` of the keys that are not named by their nesting, and how many values of each key were `left_out`."""

    paths: dict[str, list[str]]
    left_out: dict[str, int]


def flatten(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    rows: str,
    columns: str,
    values: Mapping[str, object] | None = None,
    known: Mapping[str, list[str]] | None = None,
    *,
    blanks: bool = False,
) -> Flattened:
    """Create a table (columns, key, value, json_type, listed) of the scalars in `metadata` of what may follow FROM.

    `values` are bound in `rows` by their names. `known` are the paths that keys had at a training: those of others are
    left out. Null values have no row, and blank ones only with `blanks`.
    """
    bound = dict(values or {})
    connection.execute(_plain(table, f"(SELECT * FROM {rows} WHERE NOT {_ODD})", columns, blanks), bound)
    odd = f"(SELECT row_number() OVER () AS document, {columns}, metadata FROM {rows} WHERE {_ODD})"
    connection.execute(f"CREATE TABLE odd AS SELECT * FROM {odd}", bound)
    try:
        if not known and not connection.execute("SELECT 1 FROM odd LIMIT 1").fetchall():
            return Flattened({}, {})
        return _with_odd(connection, table, columns, known, blanks)
    finally:
        connection.execute("DROP TABLE odd")


def flatten_as_before(connection: duckdb.DuckDBPyConnection, table: str, rows: str, columns: str) -> None:
    """Create what `flatten` creates, with the keys of earlier releases: brackets in a literal key are lost."""
    connection.execute(_plain(table, rows, columns))


def _plain(table: str, rows: str, columns: str, blanks: bool = False) -> str:
    columns = ", ".join(f"e.{column}" for column in columns.split(", "))  # json_tree has an id and a type too
    return f"""
        CREATE TABLE {table} AS
        SELECT * FROM (
            SELECT {columns}, {_KEY} AS key, {_VALUE} AS value, j.type AS json_type, {_LISTED} AS listed
            FROM {rows} e, json_tree(e.metadata) j WHERE e.metadata IS NOT NULL AND {_SCALAR})
        WHERE {_told(blanks)}"""


def _told(blanks: bool) -> str:
    return "key <> ''" if blanks else "value <> '' AND key <> ''"


def _with_odd(
    connection: duckdb.DuckDBPyConnection, table: str, columns: str, known: Mapping[str, list[str]] | None, blanks: bool
) -> Flattened:
    """Add the documents of `odd` to the table, of each key only the values of the path that has its name."""
    connection.execute(f"""
        CREATE TABLE odd_values AS
        WITH RECURSIVE
        tree AS (
            SELECT document, j.id AS node, j.parent, j.key, j.type, {_VALUE} AS value, {_SCALAR} AS scalar
            FROM odd, json_tree(odd.metadata) j),
        nodes AS (
            SELECT document, node, []::VARCHAR[] AS path, type = 'ARRAY' AS list, false AS listed
            FROM tree WHERE parent IS NULL
            UNION ALL
            SELECT tree.document, tree.node, CASE WHEN list THEN path ELSE list_append(path, key) END,
                type = 'ARRAY', listed OR list
            FROM tree JOIN nodes ON tree.document = nodes.document AND tree.parent = nodes.node
            WHERE type IN ('OBJECT', 'ARRAY')),
        leaves AS (
            SELECT tree.document, CASE WHEN list THEN path ELSE list_append(path, key) END AS path, value,
                type AS json_type, listed OR list AS listed
            FROM tree JOIN nodes ON tree.document = nodes.document AND tree.parent = nodes.node WHERE scalar)
        SELECT {columns}, array_to_string(path, '.') AS key, value, json_type, listed, path
        FROM leaves JOIN odd USING (document)""")
    found = connection.execute(f"""
        SELECT key, path, count(*) FROM odd_values WHERE {_told(blanks)} GROUP BY ALL
        UNION ALL
        SELECT key, string_split(key, '.'), count(*) FROM {table} WHERE contains(key, '.') GROUP BY ALL""").fetchall()
    ways: dict[str, dict[tuple[str, ...], int]] = {}
    for key, path, count in found:
        counts = ways.setdefault(key, {})
        counts[tuple(path)] = counts.get(tuple(path), 0) + count
    paths, left_out = {}, {}
    for key, counts in ways.items():
        nested = tuple(key.split("."))
        first = min(counts, key=lambda way: (len(way), way))
        path = first if known is None else tuple(known.get(key, nested))
        if path != nested:
            paths[key] = list(path)
        if lost := sum(counts.values()) - counts.get(path, 0):
            left_out[key] = lost
    connection.execute(f"DELETE FROM {table} WHERE list_contains($keys, key)", {"keys": list(paths)})
    connection.execute(
        f"""
        INSERT INTO {table} SELECT {columns}, key, value, json_type, listed FROM odd_values
        LEFT JOIN (SELECT unnest($keys::VARCHAR[]) AS key, unnest($paths::VARCHAR[][]) AS wanted) USING (key)
        WHERE {_told(blanks)} AND path = coalesce(wanted, string_split(key, '.'))""",
        {"keys": list(paths), "paths": list(paths.values())},
    )
    connection.execute("DROP TABLE odd_values")
    return Flattened(paths, left_out)
