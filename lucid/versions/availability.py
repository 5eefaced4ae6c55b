"""Which targets are to be had at a moment, as their metadata say: `available`, `available_from`, `available_until`.

What is uploaded for an entity counts at once, whatever else of it waits for the next training. Texts that are no time
say nothing, and neither does a missing value. Of several values of an entity the one that allows least counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid.data.selection import files_of
from lucid.data.timestamps import TIME
from lucid.store.duck import connect
from lucid.store.tables.batches import SelectedBatch
from lucid.versions.files import ENTITIES, VALUES
from lucid.versions.version import Version

AVAILABLE, FROM, UNTIL = "available", "available_from", "available_until"
"""The metadata keys."""
DENIALS = ("false", "no", "0")
"""Values of `available` that deny it, in whatever letters, and numbers that are zero or less."""

_DENIED = f"(lower(value) IN {DENIALS} OR coalesce(try_cast(value AS DOUBLE) <= 0, false))"
MOMENT = rf"""epoch(CASE
    WHEN regexp_full_match(timestamp, '\d{{4}}') THEN try_cast(timestamp || '-01-01' AS TIMESTAMPTZ)
    WHEN regexp_full_match(timestamp, '\d{{4}}-\d\d') THEN try_cast(timestamp || '-01' AS TIMESTAMPTZ)
    ELSE {TIME} END)"""
"""SQL of the Unix seconds that a text `timestamp` stands for, a year or a month included; NULL for none."""


@dataclass(frozen=True)
class Span:
    """When an entity is to be had: never where it is denied, else from a moment on and before another, Unix seconds."""

    denied: bool = False
    begins: float = -np.inf
    ends: float = np.inf


@dataclass(frozen=True)
class Availability:
    """When each entity of a type is to be had, (n) each, as in `Span`."""

    denied: NDArray[np.bool_]
    begins: NDArray[np.float64]
    ends: NDArray[np.float64]

    def at(self, moment: float) -> NDArray[np.bool_] | None:
        """Which are to be had at a moment, Unix seconds; None for all."""
        allowed = ~self.denied & (self.begins <= moment) & (moment < self.ends)
        return None if allowed.all() else allowed

    def changed(self, spans: Mapping[int, Span], rows: range) -> "Availability":
        """This with other spans for some rows, as far as they are of this type."""
        new = {row - rows.start: span for row, span in spans.items() if row in rows}
        if not new:
            return self
        denied, begins, ends = self.denied.copy(), self.begins.copy(), self.ends.copy()
        for place, span in new.items():
            denied[place], begins[place], ends[place] = span.denied, span.begins, span.ends
        return Availability(denied, begins, ends)


def read_availability(version: Version, rows: range) -> Availability:
    """As a version was trained, for the rows of a type."""
    found = _spans(
        f"(SELECT row, key, value FROM read_parquet($values) WHERE key IN ('{AVAILABLE}', '{FROM}', '{UNTIL}') "
        "AND row BETWEEN $first AND $last)",
        {"values": str(version.folder / VALUES), "first": rows.start, "last": rows.stop - 1},
    )
    size = len(rows)
    everything = Availability(np.zeros(size, bool), np.full(size, -np.inf), np.full(size, np.inf))
    return everything.changed(found, rows)


def availability_since(version: Version, batches: Sequence[SelectedBatch], home: Path | None = None) -> dict[int, Span]:
    """Of entities that a version holds and batches define anew, by rows: what their latest definition says.

    The batches are those of its own home, or of another one.
    """
    files = files_of(home or version.home, batches, "entities")
    if not files:
        return {}
    return _spans(
        f"""(
        WITH latest AS (
            SELECT row, metadata FROM read_parquet($files, filename = true, file_row_number = true) new
            JOIN (SELECT row, id FROM read_parquet($entities) WHERE id IS NOT NULL) held USING (id)
            QUALIFY row_number() OVER (
                PARTITION BY id ORDER BY list_position($files, filename) DESC, file_row_number DESC) = 1)
        SELECT row, NULL AS key, NULL AS value FROM latest
        UNION ALL SELECT row, '{AVAILABLE}', trim(metadata ->> '$.{AVAILABLE}') FROM latest
        UNION ALL SELECT row, '{FROM}', trim(metadata ->> '$.{FROM}') FROM latest
        UNION ALL SELECT row, '{UNTIL}', trim(metadata ->> '$.{UNTIL}') FROM latest)""",
        {"files": files, "entities": str(version.folder / ENTITIES)},
    )


def _spans(values: str, bound: Mapping[str, object]) -> dict[int, Span]:
    """Spans by rows, from SQL with the columns row, key and value; a row without any value has one that allows all."""
    with connect(threads=2) as connection:
        rows = connection.execute(
            f"""
            SELECT row, coalesce(bool_or(key = '{AVAILABLE}' AND {_DENIED}), false),
                coalesce(max(moment) FILTER (key = '{FROM}'), '-inf'::DOUBLE),
                coalesce(min(moment) FILTER (key = '{UNTIL}'), 'inf'::DOUBLE)
            FROM (SELECT row, key, value, value AS timestamp, {MOMENT} AS moment FROM {values}) GROUP BY row""",
            dict(bound),
        ).fetchall()
    return {row: Span(*span) for row, *span in rows}


def moments(version: Version, rows: range, key: str) -> NDArray[np.float64]:
    """The latest time that a metadata key of each entity of a type holds, Unix seconds (n), NaN for none."""
    found = np.full(len(rows), np.nan)
    with connect(threads=2) as connection:
        latest = connection.execute(
            f"""
            SELECT row, max(moment) AS moment FROM (
                SELECT row, {MOMENT} AS moment FROM (
                    SELECT row, value AS timestamp FROM read_parquet($values)
                    WHERE key = $key AND row BETWEEN $first AND $last))
            WHERE moment IS NOT NULL GROUP BY row""",
            {"values": str(version.folder / VALUES), "key": key, "first": rows.start, "last": rows.stop - 1},
        ).fetchnumpy()
    found[np.asarray(latest["row"]) - rows.start] = np.asarray(latest["moment"])
    return found
