"""Activity: on which days how many sources interacted with an entity, for lists that are the same for all.

A source counts once a day with each target, whatever it did there and however often, so that nobody makes something
popular alone. Days are those of UTC.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from lucid.data.conditions import Binder
from lucid.data.strengths import StrengthRule, disliking
from lucid.store.duck import connect, copy
from lucid.typing import Rows

ACTIVITY_FILE = "activity.parquet"
NO_DAY = -(2**31)
"""Stands for the day of interactions that have no time, or one that cannot be."""

DAY = f"CASE WHEN timestamp <= $now::TIMESTAMPTZ THEN floor(epoch(timestamp) / 86400)::INTEGER ELSE {NO_DAY} END"
"""The day of an interaction in SQL, counted from 1970; a time after `$now` is none, however near it is."""


def not_disliked(strengths: Iterable[StrengthRule], bind: Binder) -> str:
    """What stands for the table `interactions` in SQL, without those that tell of dislike."""
    return f"(SELECT * FROM interactions WHERE NOT coalesce({disliking(strengths, bind)}, false))"


def copy_activity(
    connection: duckdb.DuckDBPyConnection, folder: Path, now: datetime, strengths: Iterable[StrengthRule] = ()
) -> None:
    """Write `activity.parquet` (row, day, count) of `interactions`, `links` and `numbered` entities.

    Both ends of an interaction are counted, unless it tells of dislike, as `strengths` have it. Entities of types that
    take part in no interaction, as those that metadata makes, have the activity of all that is linked to them.
    """
    bind = Binder()
    connection.execute(
        f"""
        CREATE TABLE daily AS
        WITH met AS MATERIALIZED (
            SELECT DISTINCT s.row AS source_row, t.row AS target_row, {DAY} AS day FROM {not_disliked(strengths, bind)}
            JOIN numbered s ON s.id = source_id JOIN numbered t ON t.id = target_id WHERE s.row <> t.row),
        ends AS (SELECT source_row AS row, day FROM met UNION ALL SELECT target_row, day FROM met)
        SELECT row, day, count(*) AS count FROM ends GROUP BY ALL""",
        {"now": now, **bind.values},
    )
    copy(
        connection,
        """
        WITH active AS (SELECT DISTINCT type FROM daily JOIN numbered USING (row)),
        linked AS (
            SELECT DISTINCT s.row AS source_row, t.row AS target_row FROM links
            JOIN numbered s ON s.id = source_id JOIN numbered t ON t.id = target_id
            WHERE t.type NOT IN (FROM active))
        SELECT row, day, count FROM daily
        UNION ALL SELECT target_row, day, sum(count)::BIGINT FROM linked JOIN daily ON row = source_row GROUP BY ALL
        ORDER BY ALL""",
        folder / ACTIVITY_FILE,
    )


def activity_among(folder: Path, entities: Path) -> tuple[Rows, NDArray[np.int32], NDArray[np.int64]]:
    """Rows, days and counts of a selection's activity in the numbering of another `entities.parquet`, sorted."""
    with connect() as connection:
        found = connection.execute(
            "SELECT there.row AS row, day, count FROM read_parquet($activity) activity "
            "JOIN read_parquet($here) here ON here.row = activity.row JOIN read_parquet($there) there USING (id) "
            "ORDER BY ALL",
            {
                "activity": str(folder / ACTIVITY_FILE),
                "here": str(folder / "entities.parquet"),
                "there": str(entities),
            },
        ).fetchnumpy()
    return tuple(np.asarray(found[name], kind) for name, kind in _COLUMNS)  # type: ignore[return-value]


_COLUMNS: tuple[tuple[str, Any], ...] = (("row", np.int64), ("day", np.int32), ("count", np.int64))
