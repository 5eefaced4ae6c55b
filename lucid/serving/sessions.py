"""Sessions: what somebody came to just now, asked about in the query itself; nothing of it is stored.

A session stands for a source that no upload has named: its entities are folded in as the interactions of one, and
their order counts where it does for the pair. Its type is that of sources that interact with such entities.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson

from lucid.errors import InvalidRequest
from lucid.graph.adjacency import Neighbours
from lucid.model.fold_in import folded_in_profile
from lucid.schema.fields import ServedBy
from lucid.schema.recommendations import SessionItem, in_order
from lucid.serving.sources import Source
from lucid.typing import Rows
from lucid.versions.version import Version

SESSION = "session"
"""What rows of an answer call their source."""


def session_source(
    session: Sequence[SessionItem], target_types: Sequence[str], version: Version
) -> tuple[Source, list[str]]:
    """The source that a session stands for, and the ids in it that the version does not hold.

    Raises UnknownType, and InvalidRequest where no source interacts with such entities.
    """
    rows, unknown = _rows(in_order(session), version)
    source_type = _source_type(rows, target_types, version)
    known = np.array(list(dict.fromkeys(reversed(rows)))[::-1], np.int64)  # each where it stands last
    edges = _edges(known, source_type, version)
    profile = folded_in_profile(version.embeddings, version.history, None, edges, version.origin.relations)
    is_known = any(vector.any() for vector in profile.vectors)
    served_by: ServedBy = "session" if is_known else "popular"
    profile = replace(profile, recent=known, in_session=True)
    return Source(orjson.dumps(SESSION), None, source_type, profile, served_by, edges), unknown


def _rows(session: Sequence[SessionItem], version: Version) -> tuple[list[int], list[str]]:
    """Rows of what a session names, and ids that the version does not hold, each once."""
    rows, unknown = [], []
    for item in session:
        row = version.index.row(item.id)
        if item.type is not None:
            of_type = version.config.entity_types.rows(item.type)
            if row not in of_type:  # ids of a namespace are stored as type:id
                row = version.index.row(f"{item.type}:{item.id}")
            row = row if row in of_type else None
        if row is None:
            unknown.append(item.id)
        else:
            rows.append(row)
    return rows, list(dict.fromkeys(unknown))


def _source_type(rows: Sequence[int], target_types: Sequence[str], version: Version) -> str:
    """The type that interacts with most of some entities; among several that, of which one is recommended to."""
    config = version.config
    types = Counter(config.entity_types.type_of(row) for row in rows)
    direct = config.direct_pairs
    found = Counter[str]()
    for source, target in direct:
        found[source] += types[target]
    wanted = {source: sum((source, target) in direct for target in target_types) for source in found}
    best = max(sorted(found), key=lambda source: (found[source] > 0, wanted[source], found[source]), default=None)
    if best is None or (rows and not found[best]):
        shown = ", ".join(sorted(types))
        pairs = ", ".join(f"{source} → {target}" for source, target in config.direct_pairs)
        raise InvalidRequest(f"session: it holds {shown}, but no source interacts with that; interactions are {pairs}")
    return best


def _edges(rows: Rows, source_type: str, version: Version) -> Neighbours:
    """New interactions of a source with some entities, each as heavy as the heaviest that it has with such sources."""
    sources, relations = version.config.entity_types.rows(source_type), version.origin.relations
    kept, numbers, weights = [], [], []
    for row in rows.tolist():
        edges = version.adjacency.of(row)
        own = edges.are_interactions(relations) & (edges.rows >= sources.start) & (edges.rows < sources.stop)
        if own.any():
            heaviest = int(np.argmax(edges.weights[:, own].sum(axis=0)))
            kept.append(row)
            numbers.append(edges.relations[own][heaviest])
            weights.append(edges.weights[:, own][:, heaviest])
    if not kept:
        return Neighbours.none(len(version.embeddings))
    return Neighbours(np.array(kept, np.int64), np.array(numbers, np.int16), np.stack(weights, axis=1))
