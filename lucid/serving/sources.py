"""The sources of a query: who they are, and what was uploaded about them since the training."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from lucid.graph.adjacency import Neighbours
from lucid.model.fold_in import folded_in_profile
from lucid.model.scorer import Profile
from lucid.schema.fields import ServedBy
from lucid.typing import Rows
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version


@dataclass(frozen=True)
class Source:
    """A source that is answered: its id as JSON, its row (None for an entity that was uploaded since), its type.

    `profile` is there where uploads have changed what the version knows of it.
    """

    id: bytes
    row: int | None
    entity_type: str
    profile: Profile | None = None
    served_by: ServedBy = "cache"


def find_named(names: Sequence[str], version: Version, uploads: Uploads) -> list[Source]:
    """Sources by their ids, each of which the version holds or uploads have brought."""
    found = []
    for name in names:
        entity_id = orjson.dumps(name)
        row = version.index.row_of_json(entity_id)
        found.append(
            _new(entity_id, name, version, uploads) if row is None else _held(entity_id, row, version, uploads)
        )
    return found


def find_rows(rows: Rows, version: Version, uploads: Uploads) -> list[Source]:
    """Sources by their rows."""
    ids = version.index.ids(rows)
    return [_held(entity_id, row, version, uploads) for entity_id, row in zip(ids, rows.tolist(), strict=True)]


def _held(entity_id: bytes, row: int, version: Version, uploads: Uploads) -> Source:
    entity_type = version.config.entity_types.type_of(row)
    edges = uploads.by_row.get(row)
    if edges is None:
        return Source(entity_id, row, entity_type)
    return Source(entity_id, row, entity_type, _profile(version, uploads, row, edges), "folded-in")


def _new(entity_id: bytes, name: str, version: Version, uploads: Uploads) -> Source:
    edges = uploads.by_id.get(name) or Neighbours.none(len(version.embeddings))
    profile = _profile(version, uploads, None, edges)
    is_known = any(vector.any() for vector in profile.vectors)
    return Source(entity_id, None, uploads.new[name], profile, "folded-in" if is_known else "popular")


def _profile(version: Version, uploads: Uploads, row: int | None, edges: Neighbours) -> Profile:
    return folded_in_profile(version.embeddings, version.history, row, edges, uploads.relations)


def edges_of(source: Source, version: Version, uploads: Uploads) -> Neighbours:
    """All edges of a source, those uploaded since included."""
    if source.row is None:
        return uploads.by_id.get(orjson.loads(source.id)) or Neighbours.none(len(version.embeddings))
    edges, new = version.adjacency.of(source.row), uploads.every.get(source.row)
    return edges if new is None else edges.joined(new)


def counted(sources: Iterable[Source]) -> Counter[ServedBy]:
    """How many sources are served in each way."""
    return Counter(source.served_by for source in sources)


def together(sources: Iterable[Source]) -> ServedBy:
    """What several sources as one are served by."""
    ways = {source.served_by for source in sources}
    if "folded-in" in ways:
        return "folded-in"
    return "popular" if ways == {"popular"} else "cache"
