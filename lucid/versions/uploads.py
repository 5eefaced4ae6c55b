"""What was uploaded since a version was trained, to be folded into it; see `lucid.model.fold_in`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lucid.data.selection import files_of
from lucid.data.since import Since, select_since
from lucid.data.strengths import DISLIKED, strengths_of
from lucid.graph.activity import Daily
from lucid.graph.adjacency import Neighbours
from lucid.graph.histories import InteractionHistory, are_among, distinct
from lucid.model.embedding import Embedding
from lucid.model.fold_in import folded_in, unknown_edges
from lucid.model.follows import TimedRows, in_order
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.store.tables.batches import SelectedBatch
from lucid.typing import INTERACTION, Floats, Rows
from lucid.versions.availability import Span, availability_since
from lucid.versions.files import ENTITIES
from lucid.versions.read_edges import Edges, ReadEdges, parts_by_id
from lucid.versions.version import Version

T = TypeVar("T")


@dataclass(frozen=True)
class Uploads:
    """Edges uploaded since a version was trained: by row of the entities that it holds, by id of new ones.

    `by_row` lacks what a refresh has put into the version already, `every` does not. `new` gives the type of each
    new entity. Relations beyond those of the version's adjacency come last in `relations`. `left_out_by_row`,
    which lacks what a refresh has put into the version, too, and `left_out_by_id` are sorted rows of what entities
    interacted with but a training would not learn from; `disliked_by_row` and `disliked_by_id` of what they disliked.
    `recent_by_row` and `recent_by_id` are what they came to and did not dislike, in the order of time, where that
    counts for anything; by row without what a refresh has put into the version. `activity` counts, by row, the
    interactions of the batches that no refresh has put into the version, without those of two entities that had
    interacted before: whether that is the same interaction once more, as in an export that overlaps with the last one,
    the version does not know. `spans` says when entities that the version holds are to be had, where that was uploaded
    anew. `batches` are those that the version was not trained on; `read` and `read_later` are what `every` and `by_row`
    were made of.
    """

    by_row: Mapping[int, Neighbours]
    every: Mapping[int, Neighbours]
    by_id: Mapping[str, Neighbours]
    new: Mapping[str, str]
    relations: Sequence[str]
    left_out_by_row: Mapping[int, Rows] = field(default_factory=dict)
    left_out_by_id: Mapping[str, Rows] = field(default_factory=dict)
    disliked_by_row: Mapping[int, Rows] = field(default_factory=dict)
    disliked_by_id: Mapping[str, Rows] = field(default_factory=dict)
    recent_by_row: Mapping[int, TimedRows] = field(default_factory=dict)
    recent_by_id: Mapping[str, TimedRows] = field(default_factory=dict)
    activity: Daily = field(default_factory=Daily.none)
    spans: Mapping[int, Span] = field(default_factory=dict)
    batches: Sequence[SelectedBatch] = ()
    newest: float = -math.inf
    """The latest time of interactions in these batches, microseconds since 1970."""
    read: ReadEdges = field(default_factory=ReadEdges)
    read_later: ReadEdges = field(default_factory=ReadEdges)
    compacted: int = 0
    seen: int = 0
    """Of the log of events, those up to `compacted` stand in batches, and those up to `seen` are taken in."""


def no_uploads(version: Version) -> Uploads:
    """Nothing was uploaded since."""
    return Uploads({}, {}, {}, {}, version.origin.relations)


def uploads_since(version: Version, request: TrainingRequest, *, now: datetime) -> Uploads:
    """Read what is not in a version yet of the batches that its training would select now (aware)."""
    origin, config = version.origin, version.config
    batches, compacted = Catalog(version.home).batches.select_with_events(request.data_tags)
    since = [batch for batch in batches if batch.batch_id not in origin.batch_ids]
    if not since:
        return replace(no_uploads(version), compacted=compacted, seen=compacted)
    relations = list(origin.relations)

    def read(batches: Sequence[SelectedBatch]) -> tuple[dict[str, Neighbours], Since]:
        found = select_from(version, batches, request, now)
        return neighbours(found.edges, version, relations), found

    # A refresh has folded earlier batches into the entities that the version holds, but not into new ones.
    unfolded = [batch for batch in since if batch.batch_id not in origin.folded_ids]
    every, found = read(since)
    later, found_later = (every, found) if unfolded == since else read(unfolded)
    left_out, left_out_later = others_by_id(found.left_out), others_by_id(found_later.left_out)
    disliked = disliked_in(found.edges, version)
    recent, recent_later = recent_in(found.edges, version), recent_in(found_later.edges, version)
    rows = {entity_id: version.index.row(entity_id) for entity_id in {*every, *left_out}}

    def by_row(by_id: Mapping[str, T]) -> dict[int, T]:
        return {row: value for entity_id, value in by_id.items() if (row := rows.get(entity_id)) is not None}

    known = by_row(every)
    return Uploads(
        known if later is every else by_row(later),
        known,
        {entity_id: edges for entity_id, edges in every.items() if rows[entity_id] is None},
        {
            entity_id: entity_type
            for entity_id, entity_type in found.new.items()
            if entity_type in config.entity_types.types
        },
        relations,
        by_row(left_out_later),
        {entity_id: others for entity_id, others in left_out.items() if rows[entity_id] is None},
        by_row(disliked),
        {entity_id: others for entity_id, others in disliked.items() if rows[entity_id] is None},
        by_row(recent_later),
        {entity_id: timed for entity_id, timed in recent.items() if rows[entity_id] is None},
        activity_of(found_later, version.history),
        availability_since(version, since),
        since,
        _newest(version.home, since),
        ReadEdges(found.edges),
        ReadEdges(found_later.edges),
        compacted,
        compacted,
    )


def _newest(home: Path, batches: Sequence[SelectedBatch]) -> float:
    files = files_of(home, batches, "interactions")
    if not files:
        return -math.inf
    with connect(threads=2) as connection:
        query = "SELECT epoch_us(max(timestamp)) FROM read_parquet($files, union_by_name = true)"
        ((newest,),) = connection.execute(query, {"files": files}).fetchall()
    return -math.inf if newest is None else newest


def with_uploads(version: Version, uploads: Uploads) -> tuple[Embedding, ...]:
    """The embeddings of a version with everything folded in that was uploaded for entities that it holds."""
    embeddings = []
    for number, embedding in enumerate(version.embeddings):
        vectors, degrees = embedding.vectors.copy(), embedding.degrees.copy()
        for row, edges in uploads.by_row.items():
            added = unknown_edges(edges, version.history.of(row), uploads.relations)
            vectors[row], degrees[row] = folded_in(embedding, row, added.rows, added.weights[number])
        embeddings.append(replace(embedding, vectors=vectors, degrees=degrees))
    return tuple(embeddings)


def select_from(
    version: Version,
    batches: Sequence[SelectedBatch],
    request: TrainingRequest,
    now: datetime,
    *,
    home: Path | None = None,
    only: Sequence[str] | None = None,
) -> Since:
    """What batches hold, of its own home or of another one, selected as a version's training would have done.

    `only` as for `select_since`.
    """
    with version.learnt() as learnt:
        return select_since(
            home or version.home,
            batches,
            version.folder / ENTITIES,
            learnt,
            version.origin.keys,
            version.origin.reading,
            version.origin.strengths,
            now=now,
            maximum_interaction_age_days=request.maximum_interaction_age_days,
            data_filters=request.data_filters or DataFilters(),
            only=only,
        )


def others_by_id(ends: Mapping[str, NDArray[Any]]) -> dict[str, Rows]:
    """Rows of the other ends by id, each once and sorted, of ends that stand sorted by id."""
    others = ends["other"].astype(np.int64)
    return {entity_id: np.unique(others[part]) for entity_id, part in parts_by_id(ends["id"])}


def activity_of(found: Since, history: InteractionHistory) -> Daily:
    """What was found that the history does not know, counted for both ends."""
    size = len(history.starts) - 1
    sources, targets, days = (np.asarray(found.met[name]) for name in ("source", "target", "day"))
    rows = distinct(sources[sources >= 0])
    known = np.concatenate([np.empty(0, np.int64), *(row * size + history.of(row) for row in rows.tolist())])
    new = (sources < 0) | (targets < 0) | ~are_among(sources * size + targets, known)
    ends, twice = np.concatenate([sources[new], targets[new]]), np.concatenate([days[new], days[new]])
    held = ends >= 0
    return Daily(ends[held], twice[held].astype(np.int32), np.ones(int(held.sum()), np.int64))


def disliked_in(edges: Edges, version: Version) -> dict[str, Rows]:
    """Rows, sorted, of what entities disliked, by id."""
    tell = _strengths(edges, version) <= DISLIKED
    return others_by_id({"id": edges["id"][tell], "other": edges["other"][tell]})


def _strengths(edges: Edges, version: Version) -> Floats:
    """The strength of each edge, (E), NaN for none."""
    prefixed = [replace(rule, type=INTERACTION + rule.type) for rule in version.origin.strengths]
    return strengths_of(prefixed, edges["relation"].astype(str), edges["number"].astype(np.float64))


def recent_in(edges: Edges, version: Version) -> dict[str, TimedRows]:
    """What entities came to and did not dislike, and when, by id: each where it was last, oldest first.

    Nothing where order counts for no pair of the version.
    """
    if not version.follows:
        return {}
    counts = ~np.isnan(edges["timestamp"]) & np.char.startswith(edges["relation"].astype(str), INTERACTION)
    counts &= ~(_strengths(edges, version) <= DISLIKED)
    ids, others, times = edges["id"][counts], edges["other"][counts].astype(np.int64), edges["timestamp"][counts]
    return {entity_id: in_order([(others[part], times[part])]) for entity_id, part in parts_by_id(ids)}


def neighbours(edges: Edges, version: Version, relations: list[str]) -> dict[str, Neighbours]:
    """Edges by id; names of relations that the version does not know are added to `relations`."""
    if not len(edges["id"]):
        return {}
    names, which = np.unique(edges["relation"].astype(str), return_inverse=True)
    relations += sorted(set(names.tolist()) - set(relations))
    numbers = np.array([relations.index(name) for name in names.tolist()], np.int16)[which]
    strengths = _strengths(edges, version)
    weights = np.stack(
        [
            weighting.edge_weights(names[which], edges["repeats"], edges["timestamp"], version.origin.newest, strengths)
            for weighting in version.config.weightings
        ]
    )
    others = edges["other"].astype(np.int64)
    return {
        entity_id: Neighbours(others[part], numbers[part], weights[:, part], edges["timestamp"][part])
        for entity_id, part in parts_by_id(edges["id"])
    }
