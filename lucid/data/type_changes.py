"""Ids that change their type: within a file, from batch to batch, and what that costs a training.

Entities are keyed by their id, so an id that two tables use for different things becomes one of them. Each place where
that shows tells of it, and says how to keep both: `namespace=true`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from lucid.data.csv_file import SHOWN_VALUE
from lucid.errors import TrainingFailed
from lucid.store.duck import count

MAX_LOST_SHARE = 0.01
"""A training asks for permission where more than this share of a type's ids have become another type."""
SHOWN_IDS = 3
_REMEDY = "import with namespace=true to keep both, as type:id"


def conflict(above: str, here: str) -> str:
    """Says that an id has one type above, and another here."""
    return f"has the type {above} above and {here} here, but an id has one type; {_REMEDY}"


def find_conflicts(connection: duckdb.DuckDBPyConnection) -> int:
    """Create `conflicts(place, reason)` of the good rows in `parsed` whose id has another type above; count them.

    The first type of an id in its file holds.
    """
    connection.execute(
        f"""
        CREATE TABLE conflicts AS
        WITH mixed AS (SELECT id FROM parsed WHERE reason IS NULL GROUP BY id HAVING min(type) <> max(type)),
        typed AS (
            SELECT file_row_number AS place, id, type, first_value(type) OVER (
                PARTITION BY id ORDER BY file_row_number) AS first
            FROM parsed SEMI JOIN mixed USING (id) WHERE reason IS NULL)
        SELECT place, {{'column_name': 'id', 'code': 'type_conflict', 'value': left(id, $shown),
            'message': '{conflict("' || first || '", "' || type || '")}'
        }} AS reason FROM typed WHERE type <> first""",
        {"shown": SHOWN_VALUE},
    )
    return count(connection, "conflicts")


def tell_changes(connection: duckdb.DuckDBPyConnection, new: str, earlier: Sequence[str]) -> list[str]:
    """Warnings on ids of a batch's `rows.parquet` that have another type in the latest of the earlier ones."""
    found = connection.execute(
        """
        WITH new AS (
            SELECT id, arg_max(type, file_row_number) AS type FROM read_parquet($new, file_row_number = true)
            GROUP BY id),
        known AS (
            SELECT id, arg_max(type, (list_position($earlier, filename), file_row_number)) AS type
            FROM read_parquet($earlier, filename = true, file_row_number = true) SEMI JOIN new USING (id) GROUP BY id)
        SELECT known.type, new.type, count(*), min(id, $shown)
        FROM new JOIN known USING (id) WHERE new.type <> known.type GROUP BY ALL ORDER BY ALL""",
        {"new": new, "earlier": list(earlier), "shown": SHOWN_IDS},
    ).fetchall()
    return [
        f"{_ids(ids)} changed from the type {before} to {after}, for example {_examples(examples)}: an id has one "
        f"type, and the latest batch wins; if they are different things, {_REMEDY}"
        for before, after, ids, examples in found
    ]


@dataclass(frozen=True)
class Loss:
    """How many of a type's `ids` are `lost` to other types, of which the `taker` has got most, with some of them."""

    type: str
    taker: str
    ids: int
    lost: int
    examples: list[str]

    def __str__(self) -> str:
        return (
            f"{self.lost:,} of {self.ids:,} ids of the type {self.type} have become {self.taker}, "
            f"for example {_examples(self.examples)}"
        )


def refuse_losses(lost: Sequence[Loss]) -> None:
    """Raise TrainingFailed where a type has lost too many of its ids."""
    heavy = [loss for loss in lost if loss.lost > MAX_LOST_SHARE * loss.ids]
    if heavy:
        told = "; ".join(map(str, heavy))
        raise TrainingFailed(
            f"ids have changed their type: {told}; if they are different things, delete the batches and {_REMEDY}; "
            "if the change is meant, train with allow_type_changes=true",
            code="type_changes",
        )


def find_losses(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> list[Loss]:
    """What types lost to others in the table `entities`, of all that these `rows.parquet` ever said."""
    found = connection.execute(
        """
        WITH said AS (SELECT DISTINCT id, type FROM read_parquet($files)),
        became AS (SELECT said.id, said.type, entities.type AS taker FROM said JOIN entities USING (id))
        SELECT type, mode(taker) FILTER (taker <> type), count(*), count(*) FILTER (taker <> type) AS lost,
            min(id, $shown) FILTER (taker <> type)
        FROM became GROUP BY type HAVING lost > 0 ORDER BY type""",
        {"files": list(files), "shown": SHOWN_IDS},
    ).fetchall()
    return [Loss(*row) for row in found]


def _ids(number: int) -> str:
    return "1 id has" if number == 1 else f"{number:,} ids have"


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(f"'{entity_id[:SHOWN_VALUE]}'" for entity_id in ids)
