"""What was uploaded since a version was trained, to be folded into it; see `lucid.model.fold_in`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lucid.data.since import Since, select_since
from lucid.data.strengths import DISLIKED, StrengthRule, strengths_of
from lucid.graph.adjacency import Neighbours
from lucid.model.embedding import Embedding
from lucid.model.fold_in import folded_in, unknown_edges
from lucid.model.follows import TimedRows, in_order
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.store.tables.batches import SelectedBatch
from lucid.typing import INTERACTION, Floats, Rows
from lucid.versions.files import ENTITIES
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
    counts for anything; by row without what a refresh has put into the version.
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


def no_uploads(version: Version) -> Uploads:
    """Nothing was uploaded since."""
    return Uploads({}, {}, {}, {}, version.origin.relations)


def uploads_since(version: Version, request: TrainingRequest, *, now: datetime) -> Uploads:
    """Read what is not in a version yet of the batches that its training would select now (aware)."""
    origin, config = version.origin, version.config
    batches = Catalog(version.home).batches.select(request.data_tags)
    since = [batch for batch in batches if batch.batch_id not in origin.batch_ids]
    if not since:
        return no_uploads(version)
    relations = list(origin.relations)

    def read(batches: Sequence[SelectedBatch]) -> tuple[dict[str, Neighbours], Since]:
        found = _select(version, batches, request, now)
        return _neighbours(found.edges, version, relations), found

    # A refresh has folded earlier batches into the entities that the version holds, but not into new ones.
    unfolded = [batch for batch in since if batch.batch_id not in origin.folded_ids]
    every, found = read(since)
    later, found_later = (every, found) if unfolded == since else read(unfolded)
    left_out, left_out_later = _others_by_id(found.left_out), _others_by_id(found_later.left_out)
    disliked = _others_by_id(_disliked(found.edges, origin.strengths))
    recent, recent_later = (
        (_recent_by_id(one.edges, origin.strengths) if version.follows else {}) for one in (found, found_later)
    )
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
    )


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


def _select(version: Version, batches: Sequence[SelectedBatch], request: TrainingRequest, now: datetime) -> Since:
    with version.learnt() as learnt:
        return select_since(
            version.home,
            batches,
            version.folder / ENTITIES,
            learnt,
            version.origin.keys,
            version.origin.reading,
            version.origin.strengths,
            now=now,
            maximum_interaction_age_days=request.maximum_interaction_age_days,
            data_filters=request.data_filters or DataFilters(),
        )


def _others_by_id(ends: Mapping[str, NDArray[Any]]) -> dict[str, Rows]:
    """Rows of the other ends by id, each once and sorted, of ends that stand sorted by id."""
    others = ends["other"].astype(np.int64)
    return {entity_id: np.unique(others[part]) for entity_id, part in _parts_by_id(ends["id"])}


def _disliked(edges: Mapping[str, NDArray[Any]], rules: Sequence[StrengthRule]) -> dict[str, NDArray[Any]]:
    """Both ends of edges that tell of dislike."""
    tell = _strengths(edges, rules) <= DISLIKED
    return {"id": edges["id"][tell], "other": edges["other"][tell]}


def _strengths(edges: Mapping[str, NDArray[Any]], rules: Sequence[StrengthRule]) -> Floats:
    """The strength of each edge, (E), NaN for none."""
    types = edges["relation"].astype(str)
    prefixed = [replace(rule, type=INTERACTION + rule.type) for rule in rules]
    return strengths_of(prefixed, types, edges["number"].astype(np.float64))


def _recent_by_id(edges: Mapping[str, NDArray[Any]], rules: Sequence[StrengthRule]) -> dict[str, TimedRows]:
    """What entities came to and did not dislike, and when, by id: each where it was last, oldest first."""
    counts = ~np.isnan(edges["timestamp"]) & np.char.startswith(edges["relation"].astype(str), INTERACTION)
    counts &= ~(_strengths(edges, rules) <= DISLIKED)
    ids, others, times = edges["id"][counts], edges["other"][counts].astype(np.int64), edges["timestamp"][counts]
    return {entity_id: in_order([(others[part], times[part])]) for entity_id, part in _parts_by_id(ids)}


def _parts_by_id(ids: NDArray[Any]) -> Iterator[tuple[str, slice]]:
    """Each id and where it stands among ids of which equal ones stand together."""
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])) if len(ids) else np.empty(0, np.int64)
    for begin, end in itertools.pairwise([*starts.tolist(), len(ids)]):
        yield ids[begin], slice(begin, end)


def _neighbours(edges: Mapping[str, NDArray[Any]], version: Version, relations: list[str]) -> dict[str, Neighbours]:
    """Edges by id; names of relations that the version does not know are added to `relations`."""
    if not len(edges["id"]):
        return {}
    names, which = np.unique(edges["relation"].astype(str), return_inverse=True)
    relations += sorted(set(names.tolist()) - set(relations))
    numbers = np.array([relations.index(name) for name in names.tolist()], np.int16)[which]
    strengths = _strengths(edges, version.origin.strengths)
    weights = np.stack(
        [
            weighting.edge_weights(names[which], edges["repeats"], edges["timestamp"], version.origin.newest, strengths)
            for weighting in version.config.weightings
        ]
    )
    others = edges["other"].astype(np.int64)
    return {
        entity_id: Neighbours(others[part], numbers[part], weights[:, part])
        for entity_id, part in _parts_by_id(edges["id"])
    }
