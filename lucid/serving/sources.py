"""The sources of a query: who they are, and what was uploaded about them since the training."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import orjson

from lucid.errors import UnknownSource
from lucid.graph.adjacency import Neighbours
from lucid.model.fold_in import folded_in_profile
from lucid.model.follows import TimedRows, in_order
from lucid.model.scorer import Profile
from lucid.schema.fields import ForAll, ServedBy
from lucid.schema.recommendations import RecommendationQuery, weights_of
from lucid.typing import Rows
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version

_AT_ONCE = 32


@dataclass(frozen=True)
class Source:
    """A source that is answered: its id as JSON, its row (None for an entity that was uploaded since), its type.

    `profile` is there where uploads have changed what the version knows of it, `for_all` where it gets a list that is
    the same for all; the type of an unknown one is empty, and so is the id of nobody.
    """

    id: bytes
    row: int | None
    entity_type: str
    profile: Profile | None = None
    served_by: ServedBy = "cache"
    edges: Neighbours | None = None
    """All of them, where they are known from the query alone."""
    for_all: ForAll | None = None

    def served_for_all(self, way: ForAll) -> "Source":
        """The source, to get a list that is the same for all."""
        return replace(self, served_by=way, for_all=way)


NOBODY = Source(b'""', None, "")
"""Who is answered where no source is named."""


@dataclass(frozen=True)
class Found:
    """The sources of a query, some at a time, and the ids that neither the version nor uploads know.

    Those that are ranked for come apart from those that get lists for all.
    """

    blocks: Iterator[list[Source]]
    unknown: list[str]


def find_sources(query: RecommendationQuery, version: Version, uploads: Uploads) -> Found:
    """Who is asked about; several that are asked for as one come together.

    Raises UnknownType, and UnknownSource for a single unknown source and for one of several as one.
    """
    way = query.for_all
    if query.is_for_nobody:
        return Found(iter([[NOBODY.served_for_all(way or "popular")]]), [])
    found = _find(query, version, uploads)
    if way:
        return Found(([source.served_for_all(way) for source in sources] for sources in found.blocks), found.unknown)
    if query.fallback:
        return Found(_falling_back(found.blocks, query.fallback), found.unknown)
    return found


def _falling_back(blocks: Iterator[list[Source]], way: ForAll) -> Iterator[list[Source]]:
    """Sources of which nothing is known get a list that is the same for all."""
    for sources in blocks:
        each = (source.served_for_all(way) if source.served_by == "popular" else source for source in sources)
        for _, alike in groupby(each, key=lambda source: source.for_all):
            yield list(alike)


def _find(query: RecommendationQuery, version: Version, uploads: Uploads) -> Found:
    if query.source_type:
        rows = np.concatenate([version.config.sources(entity_type) for entity_type in dict.fromkeys(query.source_type)])
        parts = np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))
        return Found((_by_rows(part, version, uploads) for part in parts), [])
    asked = list(weights_of(query.sources)) if query.sources else list(dict.fromkeys(query.source_id or ()))
    unknown = [name for name in asked if version.index.row(name) is None and name not in uploads.new]
    if query.for_all or query.fallback:
        answered = asked
    elif unknown and (query.sources or len(asked) == 1):
        raise _unknown(unknown[0], version)
    else:
        missing = set(unknown)
        answered = [name for name in asked if name not in missing]
    size = len(answered) if query.sources else _AT_ONCE
    blocks = (answered[start : start + size] for start in range(0, len(answered), size))
    return Found((_by_names(names, version, uploads) for names in blocks), unknown)


def _by_names(names: Sequence[str], version: Version, uploads: Uploads) -> list[Source]:
    """Sources by their ids, of which some may be known to nobody."""
    found = []
    for name in names:
        entity_id = orjson.dumps(name)
        row = version.index.row_of_json(entity_id)
        if row is not None:
            found.append(held(entity_id, row, version, uploads))
        elif name in uploads.new:
            found.append(_new(entity_id, name, version, uploads))
        else:
            found.append(replace(NOBODY, id=entity_id, served_by="popular"))
    return found


def _by_rows(rows: Rows, version: Version, uploads: Uploads) -> list[Source]:
    """Sources by their rows."""
    ids = version.index.ids(rows)
    return [held(entity_id, row, version, uploads) for entity_id, row in zip(ids, rows.tolist(), strict=True)]


def _unknown(name: str, version: Version) -> UnknownSource:
    return UnknownSource(
        f"entity {name[:100]!r} is not part of version {version.number} of model {version.model_id!r}, "
        "nor was it uploaded since; upload it, and train again if its type is new"
    )


def held(entity_id: bytes, row: int, version: Version, uploads: Uploads) -> Source:
    """A source that the version holds, by its id as JSON and its row."""
    entity_type = version.config.entity_types.type_of(row)
    edges, left_out = uploads.by_row.get(row), uploads.left_out_by_row.get(row)
    unchanged: ServedBy = "cache" if version.knows(row) else "popular"
    if edges is None and left_out is None:
        return Source(entity_id, row, entity_type, served_by=unchanged)
    disliked = uploads.disliked_by_row.get(row)
    known = _profile(version, uploads, row, edges)
    profile = replace(
        known,
        left_out=_joined(version.left_out.of(row), left_out),
        disliked=_joined(version.disliked.of(row), disliked),
        recent=recent_of(row, uploads.recent_by_row.get(row), version),
    )
    return Source(entity_id, row, entity_type, profile, unchanged if edges is None else "folded-in")


def _new(entity_id: bytes, name: str, version: Version, uploads: Uploads) -> Source:
    nothing = np.empty(0, np.int64)
    profile = replace(
        _profile(version, uploads, None, uploads.by_id.get(name)),
        left_out=uploads.left_out_by_id.get(name, nothing),
        disliked=uploads.disliked_by_id.get(name, nothing),
        recent=recent_of(None, uploads.recent_by_id.get(name), version),
    )
    is_known = any(vector.any() for vector in profile.vectors)
    return Source(entity_id, None, uploads.new[name], profile, "folded-in" if is_known else "popular")


def _profile(version: Version, uploads: Uploads, row: int | None, edges: Neighbours | None) -> Profile:
    """A source with the edges that were uploaded since folded in."""
    edges = edges or Neighbours.none(len(version.embeddings))
    return folded_in_profile(version.embeddings, version.history, row, edges, uploads.relations)


def _joined(before: Rows, since: Rows | None) -> Rows:
    return before if since is None else np.union1d(before, since)


def disliked_by(source: Source, version: Version) -> Rows:
    """What a source disliked, sorted rows."""
    if source.profile is not None:
        return source.profile.disliked
    return version.disliked.of(source.row) if source.row is not None else np.empty(0, np.int64)


def recent_of(row: int | None, since: TimedRows | None, version: Version) -> Rows:
    """What a source came to last, oldest first: what the version knows of that, and what was uploaded since."""
    known = [] if row is None else [one.recent(row) for one in version.follows.values() if row in one.sources]
    return in_order([*known, *([since] if since else [])])[0]


def edges_of(source: Source, version: Version, uploads: Uploads) -> Neighbours:
    """All edges of a source, those uploaded since included."""
    if source.edges is not None:
        return source.edges
    if source.row is None:
        return uploads.by_id.get(orjson.loads(source.id)) or Neighbours.none(len(version.embeddings))
    edges, new = version.adjacency.of(source.row), uploads.every.get(source.row)
    return edges if new is None else edges.joined(new)


def counted(sources: Iterable[Source]) -> Counter[ServedBy]:
    """How many sources are served in each way."""
    return Counter(source.served_by for source in sources)


def as_one(sources: Sequence[Source]) -> Source:
    """What stands for several sources of one type in an answer: its id is made of all ids."""
    ways = {source.served_by for source in sources}
    served_by: ServedBy = "folded-in" if "folded-in" in ways else "popular" if ways == {"popular"} else "cache"
    name = " + ".join(orjson.loads(source.id) for source in sources)
    return Source(orjson.dumps(name), None, sources[0].entity_type, served_by=served_by)
