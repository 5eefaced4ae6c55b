"""Which entities a query allows as targets, by conditions on what the version was trained with."""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.data.conditions import Binder, where
from lucid.schema.filters import ENTITY_FIELDS, Condition
from lucid.store.duck import connect
from lucid.versions.files import ENTITIES, VALUES
from lucid.versions.version import Version


class TargetFilter:
    """Finds the allowed targets of one version, and keeps what was found lately."""

    def __init__(self, version: Version) -> None:
        # Of a function, as one of our own methods would close a circle, which keeps the version's files open for long.
        self._find = lru_cache(maxsize=64)(partial(_find, version))

    def allowed(self, entity_type: str, conditions: Sequence[Condition] | None) -> NDArray[np.bool_] | None:
        """Which entities of a type fulfil the conditions, (targets) bool; None where there are none."""
        if not conditions:
            return None
        return self._find(entity_type, orjson.dumps([condition.model_dump() for condition in conditions]))


def _find(version: Version, entity_type: str, filters: bytes) -> NDArray[np.bool_]:
    targets = version.config.entity_types.rows(entity_type)
    allowed = np.zeros(len(targets), bool)
    bind = Binder()
    conditions = [Condition.model_validate(condition) for condition in orjson.loads(filters)]
    with connect(threads=2) as connection:
        connection.read_parquet(str(version.folder / ENTITIES)).create_view("entities")
        connection.read_parquet(str(version.folder / VALUES)).create_view("entity_values")
        held = where(conditions, {name: name for name in ENTITY_FIELDS}, "row", "entity_values", bind)
        found = connection.execute(
            f"SELECT row FROM entities WHERE row BETWEEN $first AND $last AND ({held})",
            {**bind.values, "first": targets.start, "last": targets.stop - 1},
        ).fetchnumpy()
    allowed[np.asarray(found["row"]) - targets.start] = True
    return allowed
