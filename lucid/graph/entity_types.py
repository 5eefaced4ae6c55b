"""Entity types and the node rows that each occupies; needs neither torch nor an open database to answer."""

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lucid.errors import UnknownType
from lucid.schema.names import unknown
from lucid.store.duck import connect
from lucid.typing import Rows


@dataclass(frozen=True)
class EntityTypes:
    """Entity types, sorted, and where each type's rows start; rows within a type follow the ids' order.

    `starts` has one entry more than `types`: the number of all rows.
    """

    types: tuple[str, ...]
    starts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of all entities."""
        return self.starts[-1]

    def rows(self, entity_type: str) -> range:
        """Rows of a type; raises UnknownType."""
        try:
            number = self.types.index(entity_type)
        except ValueError:
            raise UnknownType(unknown("entity type", entity_type, self.types)) from None
        return range(self.starts[number], self.starts[number + 1])

    def type_numbers(self, rows: Rows) -> Rows:
        """Position in `types` of each row, int64."""
        return np.searchsorted(np.asarray(self.starts[1:]), rows, side="right")

    def type_of(self, row: int) -> str:
        return self.types[bisect_right(self.starts, row) - 1]

    def to_json(self) -> dict[str, Any]:
        return {"types": self.types, "starts": self.starts}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "EntityTypes":
        return cls(tuple(raw["types"]), tuple(raw["starts"]))


def read_entity_types(path: Path) -> EntityTypes:
    """Read the types from a selection's `entities.parquet`, whose rows are sorted by type and id."""
    with connect() as connection:
        counts = connection.execute(
            'SELECT type, count(*) FROM read_parquet($path) GROUP BY type ORDER BY min("row")',
            {"path": str(path)},
        ).fetchall()
    starts = np.concatenate([[0], np.cumsum([count for _, count in counts])])
    return EntityTypes(tuple(entity_type for entity_type, _ in counts), tuple(int(start) for start in starts))
