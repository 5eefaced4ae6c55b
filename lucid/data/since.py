"""What was uploaded since a version was trained, selected as its training would have done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.activity import DAY, not_disliked
from lucid.data.conditions import Binder
from lucid.data.flattening import flatten_as_before
from lucid.data.links import link, link_nothing, read, read_learnt
from lucid.data.metadata import Reading, read_values
from lucid.data.selection import filter_entities, latest_number, read_entities, read_interactions
from lucid.data.strengths import StrengthRule
from lucid.schema.fields import KeyUse
from lucid.schema.filters import DataFilters
from lucid.store.duck import connect, count
from lucid.store.tables.batches import SelectedBatch
from lucid.typing import INTERACTION, LINK, TEXT

EDGES: Mapping[str, Any] = {
    "id": object,
    "relation": object,
    "other": np.int64,
    "timestamp": np.float64,
    "repeats": np.int64,
    "number": np.float64,
}
"""The columns of edges."""
ENDS: Mapping[str, Any] = {"id": object, "other": np.int64}
"""Those of interactions that are left out."""
MET: Mapping[str, Any] = {"source": np.int64, "target": np.int64, "day": np.int32}
"""Those of who met whom."""


@dataclass(frozen=True)
class Since:
    """Rows that were uploaded since a version was trained, as its graph sees them.

    `edges` has the columns id, relation, other (row of a known entity), timestamp (Unix seconds or NaN), repeats and
    number (what tells how much was liked what, or NaN), sorted by id: interactions of every entity either way, and
    links and words of entities that the version does not hold; these are `new` (id to type). `left_out` has the columns
    id and other of interactions, either way, that are not among the edges as they are too old or not wanted. `met`
    has the columns source, target (rows of known entities, -1 for a new one) and day of interactions, as
    `lucid.data.activity` counts them.
    """

    edges: dict[str, NDArray[Any]]
    new: dict[str, str]
    left_out: dict[str, NDArray[Any]]
    met: dict[str, NDArray[Any]]

    @classmethod
    def nothing(cls) -> "Since":
        """Of no rows."""
        edges, left_out, met = (
            {name: np.empty(0, of) for name, of in columns.items()} for columns in (EDGES, ENDS, MET)
        )
        return cls(edges, {}, left_out, met)


def select_since(
    home: Path,
    batches: Sequence[SelectedBatch],
    entities: Path,
    learnt: Path,
    uses: Mapping[str, KeyUse],
    reading: Reading | None,
    strengths: Sequence[StrengthRule] = (),
    *,
    now: datetime,
    maximum_interaction_age_days: int | None,
    data_filters: DataFilters,
    only: Sequence[str] | None = None,
) -> Since:
    """Select from batches as a training would, for a version with the given `entities.parquet`.

    With `only`, the version is taken to hold no other entities than these; so few are read in less time. `learnt` is a
    folder with what its training learnt of metadata values, `uses` says how it used each key and `reading` how it read
    them, None where a release did that had no readings; `strengths` what interactions say.
    """
    with connect(threads=2) as connection:
        read_entities(connection, home, batches)
        if reading:
            read_values(connection, reading.paths)
        else:
            flatten_as_before(connection, "metadata_values", "entities", "id, type")
        filter_entities(connection, data_filters.entities)
        connection.execute(
            "CREATE TABLE held AS SELECT row, id, type, name FROM read_parquet($entities) WHERE id IS NOT NULL"
            + (" AND id IN (SELECT unnest($only::VARCHAR[]))" if only is not None else ""),
            {"entities": str(entities), **({"only": list(only)} if only is not None else {})},
        )
        # What the version holds stays as it was trained.
        for table in ("entities", "metadata_values", "removed_entities"):
            connection.execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM held)")
        new = dict(connection.execute("SELECT id, type FROM entities").fetchall())
        if count(connection, "metadata_values") or count(connection, "entities WHERE name <> ''"):
            read_learnt(connection, learnt)
            read(connection, uses, reading)
            link(connection, uses, reading, candidates="held")
        else:
            link_nothing(connection)
        connection.execute("INSERT INTO entities (id, type, name) SELECT id, type, name FROM held")
        read_interactions(connection, home, batches, now, maximum_interaction_age_days, data_filters, strengths)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS interactions "
            "(type VARCHAR, source_id VARCHAR, target_id VARCHAR, timestamp TIMESTAMPTZ, number DOUBLE, "
            "position BIGINT)"
        )
        edges = connection.execute(
            f"""
            WITH said AS (
                SELECT $interaction || type AS relation, type, timestamp, number, position, source_id, target_id
                FROM interactions),
            ends AS (
                SELECT source_id AS id, target_id AS other, * EXCLUDE (source_id, target_id) FROM said
                UNION ALL SELECT target_id, source_id, * EXCLUDE (source_id, target_id) FROM said
                UNION ALL SELECT DISTINCT source_id, target_id, $link || key, NULL, NULL, NULL, NULL FROM links
                UNION ALL SELECT DISTINCT source_id, target_id, $text || key, NULL, NULL, NULL, NULL FROM words)
            SELECT ends.id, relation, row AS other, coalesce(epoch(max(timestamp)), 'nan'::DOUBLE) AS timestamp,
                count(*) AS repeats, coalesce({latest_number(strengths, "ends.type")}, 'nan'::DOUBLE) AS number
            FROM ends JOIN held ON held.id = other WHERE ends.id <> other GROUP BY ends.id, relation, ends.type, row
            ORDER BY ALL""",
            {"interaction": INTERACTION, "link": LINK, "text": TEXT},
        ).fetchnumpy()
        left_out = connection.execute(
            """
            WITH ends AS (
                SELECT source_id AS id, target_id AS other FROM left_out
                UNION ALL SELECT target_id, source_id FROM left_out)
            SELECT DISTINCT ends.id, row AS other FROM ends JOIN held ON held.id = other WHERE ends.id <> other
            ORDER BY ALL"""
        ).fetchnumpy()
        bind = Binder()
        met = connection.execute(
            f"""
            SELECT coalesce(s.row, -1)::BIGINT AS source, coalesce(t.row, -1)::BIGINT AS target, day
            FROM (SELECT DISTINCT source_id, target_id, {DAY} AS day
                FROM {not_disliked(strengths, bind)} WHERE source_id <> target_id)
            LEFT JOIN held s ON s.id = source_id LEFT JOIN held t ON t.id = target_id""",
            {"now": now, **bind.values},
        ).fetchnumpy()
    return Since(_arrays(edges), new, _arrays(left_out), _arrays(met))


def _arrays(columns: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Columns without the masks that DuckDB may put around them."""
    return {name: np.asarray(column) for name, column in columns.items()}
