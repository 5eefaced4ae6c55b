"""The sources of a query: who they are, and what was uploaded about them since the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.graph.adjacency import nothing
from lucid.graph.entity_index import EntityIndex
from lucid.model.scorer import Profile
from lucid.schema.fields import ServedBy
from lucid.typing import Rows
from lucid.versions.lifecycle import Model
from lucid.versions.uploads import Uploads, profile


@dataclass(frozen=True)
class Sources:
    """Sources that are answered together: ids as JSON, and rows, of which new entities have none (-1).

    `types` holds the positions of their types in the entity_types, `profiles` those that uploads have changed, by line.
    """

    ids: list[bytes]
    rows: Rows
    types: NDArray[np.int64]
    profiles: Mapping[int, Profile]
    served_by: list[ServedBy]

    def of_type(self, number: int) -> tuple[Rows, Rows]:
        """Lines of the sources of a type: those that uploads have changed, and the others."""
        lines = np.flatnonzero(self.types == number)
        is_changed = np.array([line in self.profiles for line in lines.tolist()], bool)
        return lines[is_changed], lines[~is_changed]


def find_named(names: Sequence[str], model: Model, index: EntityIndex, uploads: Uploads) -> Sources:
    """Sources by their ids, each of which the version holds or uploads have brought."""
    ids = [orjson.dumps(name) for name in names]
    rows = [index.row_of_json(source) for source in ids]
    new = {line: name for line, (name, row) in enumerate(zip(names, rows, strict=True)) if row is None}
    return _find(ids, np.array([-1 if row is None else row for row in rows], np.int64), new, model, uploads)


def find_rows(rows: Rows, model: Model, index: EntityIndex, uploads: Uploads) -> Sources:
    """Sources by their rows."""
    return _find(index.ids(rows), rows, {}, model, uploads)


def _find(ids: list[bytes], rows: Rows, new: Mapping[int, str], model: Model, uploads: Uploads) -> Sources:
    entity_types = model.config.entity_types
    types = entity_types.type_numbers(rows)
    profiles: dict[int, Profile] = {}
    served_by: list[ServedBy] = ["cache"] * len(ids)
    touched = [line for line, row in enumerate(rows.tolist()) if row in uploads.by_row] if uploads.by_row else []
    for line in touched:
        row = int(rows[line])
        profiles[line], _ = profile(model, uploads, row, uploads.by_row[row])
        served_by[line] = "folded-in"
    for line, source in new.items():
        types[line] = entity_types.types.index(uploads.new[source])
        edges = uploads.by_id.get(source) or nothing(model.views)
        profiles[line], is_known = profile(model, uploads, None, edges)
        served_by[line] = "folded-in" if is_known else "popular"
    return Sources(ids, rows, types, profiles, served_by)


def together(served_by: Sequence[ServedBy]) -> ServedBy:
    """What several sources as one are served by."""
    if "folded-in" in served_by:
        return "folded-in"
    return "popular" if set(served_by) == {"popular"} else "cache"
